"""Timers of sagas as rows in Postgres: set, claimed by one worker at a time, cleared.

They follow from the sagas' own events, and a saga takes no timer for due that it has not set: a row that is
left over, or claimed twice because a worker was thought dead, changes nothing.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from eventstore.pool import Pool
from sagas.process import Process

RETRY: Final = "~retry"
"""Not set by the saga: a step of it waits, and is to be tried again."""

_COLUMNS: Final = "saga_id, name, saga_type, tenant, due_at"
_NEWER: Final = """
        ON CONFLICT (saga_id, name) DO UPDATE
       SET due_at = excluded.due_at, version = excluded.version, error = NULL,
           claimed_until = CASE WHEN t.due_at = excluded.due_at THEN t.claimed_until ELSE '-infinity' END
     WHERE t.version <= excluded.version"""
_SET: Final = f"""
    INSERT INTO erp.saga_timers AS t ({_COLUMNS}, version)
    SELECT %s, n.name, %s, %s, n.due_at, %s FROM unnest(%s::text[], %s::timestamptz[]) AS n (name, due_at)
    {_NEWER}"""  # noqa: S608 - names of ours
_SET_RETRY: Final = f"""
    INSERT INTO erp.saga_timers AS t ({_COLUMNS}, version)
    VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s), %s) {_NEWER}"""  # noqa: S608
_CLEAR: Final = "DELETE FROM erp.saga_timers WHERE saga_id = %s AND name = ANY (%s) AND version <= %s"
_CLEAR_OTHERS: Final = "DELETE FROM erp.saga_timers WHERE saga_id = %s AND name <> ALL (%s) AND version <= %s"
_CLEAR_FIRED: Final = "DELETE FROM erp.saga_timers WHERE (saga_id, name, due_at) = (%s, %s, %s)"
_CLAIM: Final = f"""
    UPDATE erp.saga_timers SET claimed_until = clock_timestamp() + make_interval(secs => %s)
     WHERE (saga_id, name) IN (
           SELECT saga_id, name FROM erp.saga_timers
            WHERE due_at <= clock_timestamp() AND claimed_until < clock_timestamp() AND saga_type = ANY (%s)
            ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING {_COLUMNS}, extract(epoch FROM clock_timestamp() - due_at)::float8"""  # noqa: S608
_RENEW: Final = """
    UPDATE erp.saga_timers SET claimed_until = clock_timestamp() + make_interval(secs => %s)
      FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS mine (saga_id, name, due_at)
     WHERE (saga_timers.saga_id, saga_timers.name, saga_timers.due_at)
         = (mine.saga_id, mine.name, mine.due_at)"""
_FAILED: Final = """
    UPDATE erp.saga_timers SET error = %s, claimed_until = clock_timestamp() + make_interval(secs => %s)
     WHERE (saga_id, name, due_at) = (%s, %s, %s)"""
_NOW: Final = """
    UPDATE erp.saga_timers SET claimed_until = '-infinity',
           due_at = CASE WHEN name = %s THEN clock_timestamp() ELSE due_at END
     WHERE saga_id = %s AND (name = %s OR error IS NOT NULL) RETURNING name"""
_ERRORS: Final = """
    SELECT name, error FROM erp.saga_timers WHERE saga_id = %s AND error IS NOT NULL ORDER BY name"""
_WAITING: Final = (
    "SELECT saga_id, saga_type, tenant FROM erp.saga_timers WHERE name = %s ORDER BY due_at LIMIT %s"
)


class Timer(NamedTuple):
    """A row. `late_s`: for how long it had been due when it was claimed."""

    saga_id: UUID
    name: str
    saga_type: str
    tenant: UUID
    due_at: datetime
    late_s: float = 0.0


class Timers:
    """The table, as erp_saga.

    Args:
        claim_s: so long after the end of its worker a timer can be claimed by another.
    """

    def __init__(self, pool: Pool, *, claim_s: float = 2.0) -> None:
        self._pool = pool
        self.claim_s = claim_s

    async def set(self, saga: Process, tenant: UUID) -> None:
        """Wake the saga for each of its timers; one that is set to its instant already stays as it is."""
        names, due = list(saga.timers), list(saga.timers.values())
        await self._pool.rows(_SET, [saga.id, saga.TOPIC, tenant, saga.version, names, due])

    async def set_retry(self, saga: Process, tenant: UUID, *, after_s: float) -> None:
        """Wake the saga in so many seconds to try its waiting steps."""
        await self._pool.rows(_SET_RETRY, [saga.id, RETRY, saga.TOPIC, tenant, after_s, saga.version])

    async def retry_now(self, saga_id: UUID) -> bool:
        """Wake a saga at once for its waiting steps, and for timers that failed; False: it has none."""
        return bool(await self._pool.rows(_NOW, [RETRY, saga_id, RETRY]))

    async def errors(self, saga_id: UUID) -> dict[str, str]:
        """Of its timers those that could not be dealt with, and why."""
        return dict(await self._pool.rows(_ERRORS, [saga_id]))

    async def waiting(self, limit: int) -> list[tuple[UUID, str, UUID]]:
        """Sagas with waiting steps: id, type and tenant."""
        return [(row[0], row[1], row[2]) for row in await self._pool.rows(_WAITING, [RETRY, limit])]

    async def clear(self, saga: Process, names: Iterable[str]) -> None:
        """Do not wake it for these."""
        await self._pool.rows(_CLEAR, [saga.id, list(names), saga.version])

    async def clear_others(self, saga: Process, names: Iterable[str]) -> None:
        """Wake it for these only."""
        await self._pool.rows(_CLEAR_OTHERS, [saga.id, list(names), saga.version])

    async def settle(self, timer: Timer) -> None:
        """It was dealt with. If it was set anew meanwhile, that stays."""
        await self._pool.rows(_CLEAR_FIRED, [timer.saga_id, timer.name, timer.due_at])

    async def fail(self, timer: Timer, error: str, *, after_s: float) -> None:
        """It could not be dealt with, and is tried again in so many seconds."""
        await self._pool.rows(_FAILED, [error, after_s, timer.saga_id, timer.name, timer.due_at])

    async def claim(self, saga_types: Iterable[str], limit: int) -> list[Timer]:
        """Timers that are due and nobody works on, the earliest first."""
        if limit <= 0:
            return []
        rows = await self._pool.rows(_CLAIM, [self.claim_s, list(saga_types), limit])
        return sorted((Timer(*row) for row in rows), key=lambda timer: timer.due_at)

    async def renew(self, timers: Iterable[Timer]) -> None:
        """These are still being worked on."""
        rows = list(timers)
        if rows:
            ids, names, due = zip(*((each.saga_id, each.name, each.due_at) for each in rows), strict=True)
            await self._pool.rows(_RENEW, [self.claim_s, list(ids), list(names), list(due)])
