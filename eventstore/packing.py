"""Events of the log into messages: which topic and partition, which events share one, what each says came
before.

Pure. Events of one stream keep their order, for they share a partition, and a partition's messages are made
in order of position.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

from eventstore.cloudevents import LogEvent, batch, event_json

_NOT_IN_TOPICS: Final = re.compile(r"[^A-Za-z0-9._-]")
_TOPIC_LENGTH_MAX: Final = 249


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Message(NamedTuple):
    """A CloudEvents batch for one partition."""

    to: Partition
    value: bytes
    events: int
    last_position: int


class Packing(NamedTuple):
    """How messages are made. Consumers rely on prefix and partitions: these stay while a log lives."""

    topic_prefix: str = "erp"
    partitions: int = 4
    batch_events_max: int = 100
    batch_bytes_max: int = 1_000_000
    """Below it, brackets included, unless one event alone is larger."""
    event_bytes_max: int = 4_000_000
    """A larger event goes without its data: a broker that refuses it would hold up everything after it."""


def topic_of(prefix: str, stream_type: str) -> str:
    """The topic of an aggregate type: `erp.finance.journal_entry`."""
    return _NOT_IN_TOPICS.sub("-", f"{prefix}.{stream_type}")[:_TOPIC_LENGTH_MAX]


def partition_of(stream_id: UUID, partitions: int) -> int:
    """CRC-32 of the id's 16 bytes, modulo the number of partitions: the same everywhere, for ever."""
    return crc32(stream_id.bytes) % partitions


class Packer:
    """Packs pages of the log, in order. `tails`: the last position in each partition so far."""

    def __init__(self, packing: Packing, tails: Mapping[Partition, int]) -> None:
        self._packing = packing
        self._tails = dict(tails)
        self._topics: dict[str, str] = {}

    def pack(self, page: Sequence[LogEvent]) -> list[Message]:
        """The messages for this page; those of one partition in order of position."""
        parts: dict[Partition, list[tuple[int, bytes]]] = {}
        for logged in page:
            to = self._partition(logged)
            position = logged.event.position
            parts.setdefault(to, []).append((position, self._json(logged, self._tails.get(to, 0))))
            self._tails[to] = position
        return [message for to, events in parts.items() for message in self._messages(to, events)]

    def _partition(self, logged: LogEvent) -> Partition:
        stream_type = logged.event.stream_type
        topic = self._topics.get(stream_type)
        if topic is None:
            topic = self._topics[stream_type] = topic_of(self._packing.topic_prefix, stream_type)
        return Partition(topic, partition_of(logged.event.stream_id, self._packing.partitions))

    def _json(self, logged: LogEvent, previous: int) -> bytes:
        json = event_json(logged, previous)
        if len(json) > self._packing.event_bytes_max:
            return event_json(logged, previous, whole=False)
        return json

    def _messages(self, to: Partition, events: Sequence[tuple[int, bytes]]) -> Iterator[Message]:
        first, size = 0, 2
        for index, (_, json) in enumerate(events):
            size += len(json) + 1
            count = index - first
            if count and (size > self._packing.batch_bytes_max or count == self._packing.batch_events_max):
                yield _message(to, events[first:index])
                first, size = index, 2 + len(json) + 1
        yield _message(to, events[first:])


def _message(to: Partition, events: Sequence[tuple[int, bytes]]) -> Message:
    return Message(to, batch(json for _, json in events), len(events), events[-1][0])
