"""Aggregates kept in memory, least recently used first out, bounded in bytes.

Safe although other processes write too: whatever is decided on a cached aggregate is checked against the
log at commit.
"""

from collections import OrderedDict
from typing import Final, NamedTuple
from uuid import UUID

from domain.shared.aggregate import Aggregate

OVERHEAD_BYTES: Final = 1024
"""What an aggregate is taken to cost in memory besides the JSON that it was built from."""


class Cached(NamedTuple):
    """An aggregate and the bytes of JSON that it was built from."""

    aggregate: Aggregate
    json_bytes: int


class AggregateCache:
    """Aggregates by tenant and stream."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[tuple[UUID, UUID], Cached] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """What the entries are taken to cost."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, tenant: UUID, stream_id: UUID) -> Cached | None:
        """The entry, which thereby becomes the most recently used."""
        entry = self._entries.get((tenant, stream_id))
        if entry is not None:
            self._entries.move_to_end((tenant, stream_id))
        return entry

    def put(self, tenant: UUID, aggregate: Aggregate, json_bytes: int) -> None:
        """Keep the aggregate, unless a later version of it is here already."""
        key = (tenant, aggregate.id)
        present = self._entries.get(key)
        if present is not None and present.aggregate.version > aggregate.version:
            return
        self.drop(*key)
        self._entries[key] = Cached(aggregate, json_bytes)
        self._bytes += json_bytes + OVERHEAD_BYTES
        while self._bytes > self._bytes_max:
            self.drop(*next(iter(self._entries)))

    def drop(self, tenant: UUID, stream_id: UUID) -> None:
        """Forget the aggregate, if it is here."""
        entry = self._entries.pop((tenant, stream_id), None)
        if entry is not None:
            self._bytes -= entry.json_bytes + OVERHEAD_BYTES
