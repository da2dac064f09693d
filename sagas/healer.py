"""The healer: what nobody has dealt with in time is read from the store, whatever the reason: Kafka is
silent, wiped or gone, or a worker died with it. Also has dead letters tried again when somebody asks for it.

Promises: of all workers of a group one heals, by a lock that its database session holds; without Kafka sagas
go on, a moment later. Nothing is skipped: the floor, up to which all is dealt with, only rises past what is.
"""

import asyncio
import logging
from typing import Any, Final

import psycopg

from domain.shared.errors import Unavailable
from eventstore.one_line import one_line
from eventstore.pause import pause
from eventstore.pool import CONNECTION
from sagas.dead_letters import DeadLetters, Parked
from sagas.delivery import Delivery, Stopped
from sagas.feed import Feed
from sagas.interests import Interests
from sagas.log import Log
from sagas.positions import Positions
from sagas.status import SagaWorkerStatus

log = logging.getLogger(__name__)

_LOCK: Final = 4712820  # the first half of a two-part key; the second is the group's
_STAND_BY_S: Final = 0.5
_PAGE_EVENTS: Final = 2000
_RETRIES_AT_ONCE: Final = 8
_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_PASSING: Final = (Unavailable, psycopg.OperationalError, psycopg.InterfaceError)
_SESSION: Final[dict[str, Any]] = {**CONNECTION, "application_name": "erp saga worker (healer)"}


class Healer:
    """One worker's; it stands by while another heals.

    Args:
        url: Postgres, as erp_saga.
        late_s: so long after its recording an event may take until it is dealt with.
        look_s: between two looks.
    """

    def __init__(
        self,
        url: str,
        group: str,
        *,
        interests: Interests,
        feed: Feed,
        delivery: Delivery,
        positions: Positions,
        letters: DeadLetters,
        store_log: Log,
        status: SagaWorkerStatus,
        late_s: float = 3.0,
        look_s: float = 0.25,
    ) -> None:
        self._url = url
        self._group = group
        self._interests = interests
        self._feed = feed
        self._delivery = delivery
        self._positions = positions
        self._letters = letters
        self._log = store_log
        self._status = status
        self._late_s = late_s
        self._look_s = look_s
        self._stop = asyncio.Event()
        self._retrying: dict[Parked, asyncio.Task[None]] = {}

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    async def run(self) -> None:
        """Stand by, heal when nobody else does, until told to stop."""
        failures = 0
        while not self._stop.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(self._url, **_SESSION) as session:
                    if await self._locked(session):
                        self._status.is_healer = True
                        failures = 0
                        await self._heal(session)
            except Stopped:
                break
            except _PASSING as error:
                if failures == 0:
                    log.warning("nothing is fetched from the store for a moment: %s", one_line(error))
                await pause(self._stop, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
            finally:
                self._status.is_healer = False
        await asyncio.gather(*self._retrying.values(), return_exceptions=True)

    async def _locked(self, session: "psycopg.AsyncConnection[Any]") -> bool:
        """Wait for the lock; False when told to stop meanwhile."""
        while not self._stop.is_set():
            cursor = await session.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_LOCK, self._group]
            )
            row = await cursor.fetchone()
            if row is not None and row[0]:
                return True
            await self._delivery.look()
            await pause(self._stop, _STAND_BY_S)
        return False

    async def _heal(self, session: "psycopg.AsyncConnection[Any]") -> None:
        while not self._stop.is_set():
            await session.execute("SELECT 1")  # the lock is ours as long as the session is
            await self._positions.load()
            await self._delivery.look()
            is_more = await self._look()
            self._status.position = self._positions.floor
            self._status.lag_s = await self._log.waiting_s(self._positions.floor)
            await self._retry_letters()
            if not is_more:
                await pause(self._stop, self._look_s)

    async def _look(self) -> bool:
        """Whether there may be more that is late."""
        floor = self._positions.floor
        late = await self._log.late(floor, late_s=self._late_s, limit=_PAGE_EVENTS)
        if not late:
            return False
        reached = await self._feed.heal(late, self._late_s)
        await self._positions.raise_floor(reached)
        return reached == late[-1].position and len(late) == _PAGE_EVENTS

    async def _retry_letters(self) -> None:
        self._status.letters = await self._letters.count()
        free = _RETRIES_AT_ONCE - len(self._retrying)
        for parked in await self._letters.to_retry(list(self._interests.sagas), free):
            if parked not in self._retrying:
                task = asyncio.create_task(self._retry(parked))
                self._retrying[parked] = task

    async def _retry(self, parked: Parked) -> None:
        try:
            await self._delivery.retry(parked, self._log.at)
        except Stopped:
            log.debug("the letters of %s are left for the next worker", parked.stream_id)
        except Exception:
            log.exception("this is a defect of ours; the letters of %s stay", parked.stream_id)
        finally:
            del self._retrying[parked]
