"""Dead letters: events that sagas of a type could not deal with. Each parks its stream for that type: later
events of the stream wait behind it, in order, until somebody has it tried again or discards it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from eventstore.leaf import StoredEvent
from eventstore.pool import Pool

_COLUMNS: Final = (
    "letter, saga_type, tenant, position, stream_type, stream_id, version, type, error, tries, parked_at, "
    "retry, settled, settled_at, settled_by, reason"
)
_PARKED: Final = "SELECT DISTINCT saga_type, stream_id FROM erp.dead_letters WHERE settled IS NULL"
_DISCARDED: Final = "SELECT saga_type, position FROM erp.dead_letters WHERE settled = 'discarded'"
_PARK: Final = """
    INSERT INTO erp.dead_letters AS d
           (saga_type, tenant, position, stream_type, stream_id, version, type, error, tries)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 1)
        ON CONFLICT (saga_type, stream_id, position) WHERE settled IS NULL DO UPDATE
       SET error = excluded.error, tries = d.tries + 1, retry = false RETURNING letter"""
# Those before it are locked, so that the last of them cannot be settled while this one gets in line.
_PARK_BEHIND: Final = """
    WITH before AS MATERIALIZED (
        SELECT letter, retry FROM erp.dead_letters
         WHERE saga_type = %s AND stream_id = %s AND settled IS NULL FOR UPDATE
    )
    INSERT INTO erp.dead_letters AS d
           (saga_type, tenant, position, stream_type, stream_id, version, type, retry)
    SELECT %s, %s, %s, %s, %s, %s, %s, (SELECT bool_or(retry) FROM before) WHERE EXISTS (SELECT FROM before)
        ON CONFLICT (saga_type, stream_id, position) WHERE settled IS NULL DO UPDATE
       SET type = excluded.type RETURNING letter"""
_STREAMS: Final = """
    SELECT DISTINCT saga_type, stream_id FROM erp.dead_letters
     WHERE settled IS NULL AND retry AND saga_type = ANY (%s) LIMIT %s"""
_FIRST: Final = f"""
    SELECT {_COLUMNS} FROM erp.dead_letters
     WHERE saga_type = %s AND stream_id = %s AND settled IS NULL ORDER BY position LIMIT 1"""  # noqa: S608
_SETTLE: Final = """
    UPDATE erp.dead_letters SET settled = 'retried', settled_at = clock_timestamp(), tries = tries + 1
     WHERE letter = %s AND settled IS NULL"""
_FAIL: Final = """
    WITH failed AS (
        UPDATE erp.dead_letters SET error = %s, tries = tries + 1, retry = false
         WHERE letter = %s RETURNING saga_type, stream_id
    )
    UPDATE erp.dead_letters d SET retry = false FROM failed f
     WHERE (d.saga_type, d.stream_id) = (f.saga_type, f.stream_id) AND d.letter <> %s AND d.settled IS NULL"""
_RETRY: Final = """
    UPDATE erp.dead_letters d SET retry = true FROM erp.dead_letters asked
     WHERE asked.letter = %s AND asked.settled IS NULL AND d.settled IS NULL
       AND (d.saga_type, d.stream_id) = (asked.saga_type, asked.stream_id) RETURNING d.letter"""
_DISCARD: Final = """
    WITH discarded AS (
        UPDATE erp.dead_letters SET settled = 'discarded', settled_at = clock_timestamp(), settled_by = %s,
               reason = %s
         WHERE letter = %s AND settled IS NULL RETURNING letter, saga_type, stream_id
    ), behind AS (
        UPDATE erp.dead_letters d SET retry = true FROM discarded
         WHERE (d.saga_type, d.stream_id) = (discarded.saga_type, discarded.stream_id)
           AND d.letter <> discarded.letter AND d.settled IS NULL
    )
    SELECT letter FROM discarded"""
_LIST: Final = f"""
    SELECT {_COLUMNS} FROM erp.dead_letters WHERE settled IS NULL OR %s
     ORDER BY saga_type, stream_id, position LIMIT %s"""  # noqa: S608
_ONE: Final = f"SELECT {_COLUMNS} FROM erp.dead_letters WHERE letter = %s"  # noqa: S608
_COUNT: Final = "SELECT count(*) FROM erp.dead_letters WHERE settled IS NULL"


class Letter(NamedTuple):
    """A row; see the migration."""

    letter: int
    saga_type: str
    tenant: UUID
    position: int
    stream_type: str
    stream_id: UUID
    version: int
    type: str
    error: str | None
    tries: int
    parked_at: datetime
    retry: bool
    settled: str | None
    settled_at: datetime | None
    settled_by: str | None
    reason: str | None


class Parked(NamedTuple):
    """A stream that sagas of a type do not hear of for now."""

    saga_type: str
    stream_id: UUID


class DeadLetters:
    """The table, as erp_saga."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def parked(self) -> set[Parked]:
        """The streams that wait."""
        return {Parked(*row) for row in await self._pool.rows(_PARKED, [])}

    async def discarded(self) -> set[tuple[str, int]]:
        """The types and positions that were left out for good."""
        return {(name, position) for name, position in await self._pool.rows(_DISCARDED, [])}

    async def park(self, saga_type: str, event: StoredEvent, error: str) -> None:
        """Put aside an event that cannot be dealt with, and with it its stream."""
        await self._pool.rows(_PARK, [saga_type, *_facts(event), error])

    async def park_behind(self, saga_type: str, event: StoredEvent) -> bool:
        """Put aside an event whose stream is parked; False when it is so no longer."""
        parameters = [saga_type, event.stream_id, saga_type, *_facts(event)]
        return bool(await self._pool.rows(_PARK_BEHIND, parameters))

    async def to_retry(self, saga_types: Sequence[str], limit: int) -> list[Parked]:
        """Streams that somebody wants to be tried again."""
        return [Parked(*row) for row in await self._pool.rows(_STREAMS, [list(saga_types), limit])]

    async def first(self, parked: Parked) -> Letter | None:
        """The event that the stream stands before; None when it is parked no longer."""
        rows = await self._pool.rows(_FIRST, [*parked])
        return Letter(*rows[0]) if rows else None

    async def settle(self, letter: Letter) -> None:
        """It was dealt with after all."""
        await self._pool.rows(_SETTLE, [letter.letter])

    async def fail(self, letter: Letter, error: str) -> None:
        """It still cannot be dealt with, and the stream waits again."""
        await self._pool.rows(_FAIL, [error, letter.letter, letter.letter])

    # What a person does

    async def retry(self, letter: int) -> bool:
        """Have the letter's stream tried again from its first letter on; False when nothing of it is open."""
        return bool(await self._pool.rows(_RETRY, [letter]))

    async def discard(self, letter: int, *, by: str, reason: str) -> bool:
        """Leave that event out for good, and go on with those behind it; False when it is settled."""
        return bool(await self._pool.rows(_DISCARD, [by, reason, letter]))

    async def list(self, *, settled_too: bool = False, limit: int = 1000) -> list[Letter]:
        """Those that are open, and if wanted those that were settled, by stream and position."""
        return [Letter(*row) for row in await self._pool.rows(_LIST, [settled_too, limit])]

    async def find(self, letter: int) -> Letter | None:
        """One of them."""
        rows = await self._pool.rows(_ONE, [letter])
        return Letter(*rows[0]) if rows else None

    async def count(self) -> int:
        """How many are open."""
        ((count,),) = await self._pool.rows(_COUNT, [])
        return int(count)


def _facts(event: StoredEvent) -> tuple[object, ...]:
    return (
        event.tenant,
        event.position,
        event.stream_type,
        event.stream_id,
        event.version,
        event.type,
    )
