"""The base of every aggregate, and the only module of the domain that knows the `eventsourcing` library.

An aggregate starts blank (version 0, the state before its first event) and changes by events alone:

    class Account(Aggregate):
        TOPIC = "finance.account"
        closed: bool = False

        class Closed(Aggregate.Event):
            TOPIC = "finance.account.closed"

        def close(self) -> None:
            ...rules, which may raise...
            self._closed()

        @event(Closed)
        def _closed(self) -> None:
            self.closed = True

State is annotated class attributes with immutable values that apply methods replace, never mutate:
aggregates are copied shallowly. `TOPIC` is the frozen name in the log; moving or renaming a class changes
nothing there.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Self
from uuid import UUID

from eventsourcing.domain import AggregateEvent, BaseAggregate, CanMutateAggregate, event

__all__ = ["Aggregate", "NumberedEvent", "event", "event_data"]

# The library wants a timestamp in every event; ours is `recorded_at`, which the store assigns at commit.
_UNRECORDED: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER: Final = frozenset({"originator_id", "originator_version", "timestamp"})


class Aggregate(BaseAggregate[UUID]):
    """An event-sourced consistency boundary."""

    TOPIC: ClassVar[str] = ""
    STATE_VERSION: ClassVar[int] = 1
    """Raised when the state's shape changes, so that older snapshots are passed over."""

    class Event(AggregateEvent):
        """Something that happened; its fields, without the library's header, are what the log keeps."""

        TOPIC: ClassVar[str] = ""
        SCHEMA_VERSION: ClassVar[int] = 1

        @staticmethod
        def create_timestamp() -> datetime:
            """Not a time: see `_UNRECORDED`."""
            return _UNRECORDED

    @classmethod
    def blank(cls, stream_id: UUID) -> Self:
        """The state before the first event, at version 0."""
        aggregate = object.__new__(cls)
        aggregate.__base_init__(stream_id, 0, _UNRECORDED)
        return aggregate

    def trigger_event(self, event_class: type[CanMutateAggregate[UUID]], **kwargs: Any) -> None:
        """Record an event and apply it: the library's own, less what is looked up anew for each event."""
        header = {
            "originator_id": self._id,
            "originator_version": self._version + 1,
            "timestamp": _UNRECORDED,
        }
        recorded = event_class(**kwargs, **header)
        recorded.mutate(self)
        self._pending_events.append(recorded)

    @property
    def exists(self) -> bool:
        """Whether anything has happened yet."""
        return self.version > 0

    def editable_copy(self) -> Self:
        """A copy whose changes do not touch this one."""
        twin = copy(self)
        twin._pending_events = []  # noqa: SLF001 - the library offers no way to copy an aggregate
        return twin

    def state(self) -> Mapping[str, Any]:
        """The values of the state's attributes, by name."""
        return {name: getattr(self, name) for name in self.state_names()}

    @classmethod
    def state_names(cls) -> tuple[str, ...]:
        """The names of the state's attributes, in the order of declaration."""
        # The library makes a dataclass of every aggregate class that annotates state.
        return tuple(attribute.name for attribute in fields(cls))  # type: ignore[arg-type]

    @classmethod
    def event_types(cls) -> Iterator[type[Event]]:
        """The event classes that can occur in this aggregate's stream."""
        for member in vars(cls).values():
            if isinstance(member, type) and issubclass(member, Aggregate.Event) and member.TOPIC:
                yield member


class NumberedEvent(Aggregate.Event):
    """An event that takes the next number of `series` when it is committed; `number` is None until then."""

    series: str
    number: int | None = field(default=None, kw_only=True)


def event_data(recorded: Aggregate.Event) -> dict[str, Any]:
    """The event's own fields, by name: what the log keeps of it."""
    return {name: value for name, value in vars(recorded).items() if name not in _HEADER}
