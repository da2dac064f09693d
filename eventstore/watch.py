"""One poll for everybody who waits for the same thing to move on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Watch(Generic[T]):
    """Looks again and again while somebody waits, at one pace however many there are; else it rests."""

    def __init__(self, look: Callable[[], Awaitable[T]], *, every_s: float) -> None:
        self._look = look
        self._every_s = every_s
        self._waiting: dict[asyncio.Future[T], Callable[[T], bool]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._is_over = False

    def give_up(self) -> None:
        """Nobody is to wait any more, now or later."""
        self._is_over = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(TimeoutError())

    async def until(self, is_so: Callable[[T], bool]) -> T:
        """What is seen as soon as `is_so` of it.

        Raises:
            TimeoutError: nobody is to wait any more.
            Exception: whatever the look raises, at everybody who waits then.
        """
        if self._is_over:
            raise TimeoutError
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = is_so
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="watch")
        try:
            return await waiter
        finally:
            del self._waiting[waiter]

    async def _watch(self) -> None:
        while self._waiting:
            try:
                seen = await self._look()
            except Exception as error:  # noqa: BLE001 - it is told to those who asked
                for waiter in self._waiting:
                    if not waiter.done():
                        waiter.set_exception(error)
                return
            for waiter, is_so in self._waiting.items():
                if not waiter.done() and is_so(seen):
                    waiter.set_result(seen)
            await asyncio.sleep(self._every_s)
