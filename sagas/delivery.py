"""Delivery: one event to the sagas that want to hear of it, until they have, or it is put aside.

Promises: sagas of a type hear of the events of one stream in order, one at a time. An event that they cannot
deal with is tried a few times, then parked with its stream; what comes later in that stream waits behind it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from commands.errors import ConcurrencyConflict
from domain.shared.errors import Unavailable
from eventstore.leaf import StoredEvent
from eventstore.pause import pause
from eventstore.queues import StreamQueues
from sagas.base import Saga
from sagas.dead_letters import DeadLetters, Letter, Parked
from sagas.interests import Interests
from sagas.runner import Runner
from sagas.status import SagaWorkerStatus
from sagas.timers import Timer, Timers

log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES: Final = 3
_TRY_AGAIN_S: Final = 0.1
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_FAILED_AGAIN_S: Final = 30.0


class Stopped(Exception):
    """Told to stop before it was done: it comes again."""


class Delivery:
    """Delivers events and timers to the runner."""

    def __init__(
        self,
        runner: Runner,
        interests: Interests,
        letters: DeadLetters,
        timers: Timers,
        status: SagaWorkerStatus,
    ) -> None:
        self._runner = runner
        self._interests = interests
        self._letters = letters
        self._timers = timers
        self._status = status
        self._stop = asyncio.Event()
        self._parked: set[Parked] = set()
        self._discarded: set[tuple[str, int]] = set()
        self._streams = {name: StreamQueues() for name in interests.sagas}

    def stop(self) -> None:
        """Wait for nothing any more; a saga that is at it is finished."""
        self._stop.set()

    async def look(self) -> None:
        """Learn which streams are parked, and which events were left out for good, also by others."""
        self._parked = await self._letters.parked()
        self._discarded = await self._letters.discarded()

    async def start(self) -> None:
        """Look, as soon as Postgres is there."""
        with suppress(Stopped):
            await self._persistently(self.look)

    async def deliver(self, event: StoredEvent) -> None:
        """Return once every interested saga has recorded the event, or it is parked.

        Raises:
            Stopped: not so.
        """
        self._status.heard += 1
        wanted = self._interests.of(event.type)
        outcomes = await asyncio.gather(*(self._to(saga, event) for saga in wanted), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _to(self, saga: type[Saga], event: StoredEvent) -> None:
        async with self._streams[saga.TOPIC].turn(event.stream_id):
            if (saga.TOPIC, event.position) in self._discarded:
                return
            parked = Parked(saga.TOPIC, event.stream_id)
            if parked in self._parked:
                if await self._persistently(lambda: self._letters.park_behind(saga.TOPIC, event)):
                    self._status.parked += 1
                    return
                self._parked.discard(parked)
            error = await self._try(lambda: self._runner.hear(saga, event))
            if error is not None:
                log.error("%s: position %s is parked with its stream: %s", saga.TOPIC, event.position, error)
                await self._persistently(lambda: self._letters.park(saga.TOPIC, event, error))
                self._parked.add(parked)
                self._status.parked += 1

    async def retry(self, parked: Parked, read: Callable[[int], Awaitable[StoredEvent]]) -> None:
        """Try the letters of a stream again, in order, until none is left or one fails.

        Args:
            parked: the stream.
            read: the event at a position.

        Raises:
            Stopped: told to stop before.
        """
        async with self._streams[parked.saga_type].turn(parked.stream_id):
            while (letter := await self._persistently(lambda: self._letters.first(parked))) is not None:
                if not await self._retry(letter, read):
                    return
            self._parked.discard(parked)

    async def _retry(self, letter: Letter, read: Callable[[int], Awaitable[StoredEvent]]) -> bool:
        saga = self._interests.sagas[letter.saga_type]

        async def hear() -> None:
            await self._runner.hear(saga, await read(letter.position))

        error = await self._try(hear)
        if error is None:
            await self._persistently(lambda: self._letters.settle(letter))
            return True
        log.error("%s: letter %s still fails: %s", letter.saga_type, letter.letter, error)
        await self._persistently(lambda: self._letters.fail(letter, error))
        return False

    async def wake(self, timer: Timer) -> None:
        """Tell a saga that its timer has come; one that it cannot deal with is tried again later.

        Raises:
            Stopped: told to stop before.
        """
        saga = self._interests.sagas[timer.saga_type]
        error = await self._try(lambda: self._runner.wake(saga, timer))
        if error is None:
            await self._persistently(lambda: self._timers.settle(timer))
            self._status.timers += 1
        else:
            log.error("%s %s: timer %s: %s", timer.saga_type, timer.saga_id, timer.name, error)
            await self._persistently(lambda: self._timers.fail(timer, error, after_s=_FAILED_AGAIN_S))
            self._status.timer_failures += 1

    async def _try(self, work: Callable[[], Awaitable[None]]) -> str | None:
        """Why it cannot be done, after a few tries; None once it is."""
        for left in reversed(range(_TRIES)):
            try:
                await self._persistently(work)
            except Stopped:
                raise
            except Exception as error:
                if left == 0:
                    log.debug("cannot be dealt with", exc_info=error)
                    return f"{type(error).__name__}: {' '.join(str(error).split())}"
                if await pause(self._stop, _TRY_AGAIN_S):
                    raise Stopped from error
            else:
                return None
        raise AssertionError

    async def _persistently(self, work: Callable[[], Awaitable[T]]) -> T:
        """The work's result, tried again for as long as Postgres is gone.

        Raises:
            Stopped: told to stop meanwhile.
        """
        failures = 0
        while True:
            try:
                return await work()
            except (Unavailable, ConcurrencyConflict) as error:
                if failures == 0:
                    log.warning("sagas wait: %s", error)
                if await pause(self._stop, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]):
                    raise Stopped from error
                failures += 1
