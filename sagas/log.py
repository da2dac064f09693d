"""The log of all tenants, as far as saga workers need it: what Kafka did not bring."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from eventstore.leaf import StoredEvent
from eventstore.pool import Pool

_COLUMNS: Final = ", ".join(StoredEvent._fields)
_AT: Final = f"SELECT {_COLUMNS} FROM erp.events WHERE position = ANY (%s) ORDER BY position"  # noqa: S608
_HASHES: Final = "SELECT position, leaf_hash FROM erp.events WHERE position = ANY (%s)"
_BETWEEN: Final = f"""
    SELECT {_COLUMNS} FROM erp.events
     WHERE position > %s AND position <= %s AND stream_type = ANY (%s) ORDER BY position LIMIT %s"""  # noqa: S608
# What is late is told by the database's own clock; recorded_at grows with position.
_LATE: Final = """
    SELECT position, stream_type, stream_id, type FROM (
        SELECT position, stream_type, stream_id, type, recorded_at FROM erp.events
         WHERE position > %s ORDER BY position LIMIT %s) AS page
     WHERE recorded_at < clock_timestamp() - make_interval(secs => %s) ORDER BY position"""
_WAITING: Final = """
    SELECT coalesce((SELECT extract(epoch FROM clock_timestamp() - recorded_at)
                       FROM erp.events WHERE position = %s + 1), 0)::float8"""

_AT_ONCE: Final = 200


class Place(NamedTuple):
    """Where an event stands, and what it is."""

    position: int
    stream_type: str
    stream_id: UUID
    type: str


class Log:
    """`erp.events`, as erp_saga."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def waiting_s(self, after: int) -> float:
        """For how many seconds the event after this position has been in the log; 0: there is none."""
        ((seconds,),) = await self._pool.rows(_WAITING, [after])
        return max(0.0, float(seconds))

    async def at(self, position: int) -> StoredEvent:
        """The event at this position, which there is."""
        (event,) = await self.at_all([position])
        return event

    async def leaf_hashes(self, positions: Sequence[int]) -> dict[int, bytes]:
        """The leaf hashes of the events at these positions, as far as there are any."""
        return dict(await self._pool.rows(_HASHES, [list(positions)]))

    async def at_all(self, positions: Sequence[int]) -> list[StoredEvent]:
        """The events at these positions, in order."""
        found: list[StoredEvent] = []
        for first in range(0, len(positions), _AT_ONCE):
            rows = await self._pool.rows(_AT, [list(positions[first : first + _AT_ONCE])])
            found += [StoredEvent(*row) for row in rows]
        return found

    async def between(self, after: int, up_to: int, stream_types: Sequence[str]) -> list[StoredEvent]:
        """The first events of streams of these types in `(after, up_to]`, in order; none: there are none."""
        rows = await self._pool.rows(_BETWEEN, [after, up_to, list(stream_types), _AT_ONCE])
        return [StoredEvent(*row) for row in rows]

    async def late(self, after: int, *, late_s: float, limit: int) -> list[Place]:
        """The next events of all kinds that were recorded that long ago."""
        return [Place(*row) for row in await self._pool.rows(_LATE, [after, limit, late_s])]
