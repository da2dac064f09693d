"""Which sagas want to hear of which events, and on which topics these come."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from uuid import UUID

from domain.shared.aggregate import Aggregate
from eventstore.leaf import StoredEvent
from eventstore.packing import Partition, partition_of, topic_of
from sagas.base import Saga


class Interests:
    """Of all sagas.

    Args:
        aggregates: all there are; they tell in whose streams an event occurs.
        topic_prefix, partitions: as the relay has them.
    """

    def __init__(
        self,
        sagas: Iterable[type[Saga]],
        aggregates: Iterable[type[Aggregate]],
        *,
        topic_prefix: str = "erp",
        partitions: int = 4,
    ) -> None:
        self._prefix = topic_prefix
        self._partitions = partitions
        self.sagas = {saga.TOPIC: saga for saga in sagas}
        self._of_event: dict[str, list[type[Saga]]] = defaultdict(list)
        for saga in self.sagas.values():
            for event in dict.fromkeys((*saga.STARTS, *saga.HEARS)):
                self._of_event[event.TOPIC].append(saga)
        homes = {event.TOPIC: each.TOPIC for each in aggregates for event in each.event_types()}
        self.stream_types = sorted({homes[name] for name in self._of_event})
        """Of the streams in which these events occur."""
        self._topics = {name: topic_of(topic_prefix, name) for name in self.stream_types}

    @property
    def topics(self) -> list[str]:
        """On which they come."""
        return sorted(set(self._topics.values()))

    def of(self, event_type: str) -> Sequence[type[Saga]]:
        """The sagas that want to hear of events of this type."""
        return self._of_event.get(event_type, ())

    def partition(self, event: StoredEvent) -> Partition | None:
        """Where the event comes; None where no saga listens."""
        return self.place(event.stream_type, event.stream_id)

    def place(self, stream_type: str, stream_id: UUID) -> Partition | None:
        """Where the events of a stream come; None where no saga listens."""
        topic = self._topics.get(stream_type)
        return None if topic is None else Partition(topic, partition_of(stream_id, self._partitions))
