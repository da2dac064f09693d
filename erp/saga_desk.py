"""What an operator asks of sagas and does to them, past HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from erp.bootstrap import command_side
from erp.contexts import SAGAS
from erp.settings import Settings
from eventstore.pool import Pool
from eventstore.refusal import Refusal
from eventstore.store import EventStore
from sagas.base import Saga, SagaStatus
from sagas.dead_letters import DeadLetters
from sagas.timers import Timers

_CONFLICTS_MAX: Final = 10
_RECENT_POSITIONS: Final = 1_000_000
_RECENT: Final = f"""
    SELECT stream_id, stream_type, tenant FROM (
        SELECT stream_id, stream_type, tenant, position, version FROM erp.events
         WHERE stream_type = ANY (%s)
           AND position > (SELECT coalesce(max(position), 0) FROM erp.events) - {_RECENT_POSITIONS}
         ORDER BY position DESC LIMIT %s) AS recent
     GROUP BY stream_id, stream_type, tenant ORDER BY max(position) DESC"""  # noqa: S608 - a number of ours
_WHOSE: Final = "SELECT stream_type, tenant FROM erp.events WHERE stream_id = %s ORDER BY version LIMIT 1"
# So many events a saga has, as a rule: to list as many sagas as are asked for.
_EVENTS_PER_SAGA: Final = 20


class NoSuchSaga(Refusal):
    """Nothing has that id, or it is no saga."""


class Found(NamedTuple):
    """A saga, and in whose books it acts."""

    saga: Saga
    tenant: UUID


class SagaDesk:
    """Looks at sagas, and acts on them."""

    def __init__(self, store: EventStore, pool: Pool, sagas: Sequence[type[Saga]] = SAGAS) -> None:
        self._store = store
        self._pool = pool
        self._sagas = {each.TOPIC: each for each in sagas}
        self.timers = Timers(pool)
        self.letters = DeadLetters(pool)

    async def recent(self, *, status: str | None, saga_type: str | None, limit: int) -> list[Found]:
        """Sagas to which something has happened lately, the last first; all that wait, if it is those."""
        if status == SagaStatus.WAITING:
            rows = await self.timers.waiting(limit)
        else:
            types = [name for name in self._sagas if saga_type in {None, name}]
            rows = await self._pool.rows(_RECENT, [types, limit * _EVENTS_PER_SAGA])
        found: list[Found] = []
        for saga_id, name, tenant in rows:
            if name in self._sagas and saga_type in {None, name} and len(found) < limit:
                saga = await self._store.load_current(self._sagas[name], saga_id, tenant)
                if status in {None, saga.status}:
                    found.append(Found(saga, tenant))
        return found

    async def find(self, saga_id: UUID) -> Found:
        """The saga of that id.

        Raises:
            NoSuchSaga: there is none.
        """
        for name, tenant in await self._pool.rows(_WHOSE, [saga_id]):
            if name in self._sagas:
                return Found(await self._store.load_current(self._sagas[name], saga_id, tenant), tenant)
        raise NoSuchSaga(f"{saga_id} is no saga")

    async def abort(self, saga_id: UUID, *, by: str, reason: str) -> bool:
        """Put an end to the saga, whatever it is at; False if it has been aborted before.

        Raises:
            NoSuchSaga: there is none.
        """
        for _ in range(_CONFLICTS_MAX):
            found = await self.find(saga_id)
            saga = found.saga.editable_copy()
            if not saga.abort(by=by, reason=reason, at=datetime.now(UTC)):
                return False
            receipt = await self._store.append(
                tenant=found.tenant,
                changed=[saga],
                reads=[],
                idempotency_key=str(uuid7()),
                request_hash=bytes(32),
                answer={},
                metadata={
                    "actor": by,
                    "command": "sagas.abort",
                    "correlation_id": saga.correlation_id,
                    "reason": reason,
                },
            )
            if receipt.outcome != "conflict":
                await self.timers.clear_others(saga, [])
                return True
        raise Refusal(f"the saga is too busy: somebody else wrote to it in each of {_CONFLICTS_MAX} attempts")


@asynccontextmanager
async def saga_desk(settings: Settings) -> AsyncIterator[SagaDesk]:
    """The desk, connected for the duration."""
    side = command_side(settings)
    pool = Pool(settings.postgres.need("saga_url"), size_max=1, application_name="erp (sagas)")
    async with side.store, pool:
        yield SagaDesk(side.store, pool)
