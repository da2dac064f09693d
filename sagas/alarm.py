"""The alarm clock of a saga worker: claims timers that are due, and wakes their sagas.

Promises: a timer is claimed within two seconds of its instant while any worker runs, and one whose worker
died two seconds after that. A saga hears of it once: whether it still wants to is for the saga to say.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import psycopg

from domain.shared.errors import Unavailable
from eventstore.pause import pause
from sagas.delivery import Delivery, Stopped
from sagas.status import SagaWorkerStatus
from sagas.timers import Timer, Timers

log = logging.getLogger(__name__)

_AT_ONCE_MAX: Final = 64
_AGAIN_S: Final = 1.0


class Alarm:
    """One worker's.

    Args:
        saga_types: whose timers it claims.
        look_s: between two looks.
    """

    def __init__(
        self,
        timers: Timers,
        delivery: Delivery,
        saga_types: Sequence[str],
        status: SagaWorkerStatus,
        *,
        look_s: float = 0.25,
    ) -> None:
        self._timers = timers
        self._delivery = delivery
        self._saga_types = saga_types
        self._status = status
        self._look_s = look_s
        self._stop = asyncio.Event()
        self._ringing: dict[Timer, asyncio.Task[None]] = {}

    def stop(self) -> None:
        """Claim nothing more."""
        self._stop.set()

    async def run(self) -> None:
        """Wake sagas until told to stop; then wait for those that are at it."""
        clock = asyncio.get_running_loop().time
        renew_at = 0.0
        while not self._stop.is_set():
            pause_s = self._look_s
            try:
                if clock() >= renew_at:
                    await self._timers.renew(self._ringing)
                    renew_at = clock() + self._timers.claim_s / 3
                claimed = await self._timers.claim(self._saga_types, _AT_ONCE_MAX - len(self._ringing))
            except (Unavailable, psycopg.Error) as error:
                log.debug("no timers: %s", error)
                pause_s = _AGAIN_S
            else:
                for timer in claimed:
                    self._status.lateness.note(timer.late_s)
                    self._ringing[timer] = asyncio.create_task(self._wake(timer))
            await pause(self._stop, pause_s)
        await asyncio.gather(*self._ringing.values(), return_exceptions=True)

    async def _wake(self, timer: Timer) -> None:
        try:
            await self._delivery.wake(timer)
        except Stopped:
            log.debug("timer %s of %s is left for the next worker", timer.name, timer.saga_id)
        except Exception:
            log.exception("this is a defect of ours; timer %s of %s comes again", timer.name, timer.saga_id)
        finally:
            del self._ringing[timer]
