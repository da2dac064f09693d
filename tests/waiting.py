"""Waiting for what comes by itself: for long, as machines may be slow; only a failing test waits in vain."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 60.0

_LOOK_EVERY_S: Final = 0.02


def until(happened: Callable[[], object], what: str = "what was waited for", wait_s: float = WAIT_S) -> None:
    """Wait for it; fail when it does not come in time."""
    deadline = time.monotonic() + wait_s
    while not happened():
        assert time.monotonic() < deadline, f"not within {wait_s:g} s: {what}"
        time.sleep(_LOOK_EVERY_S)


async def eventually(holds: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Return once it holds, which may be a coroutine that tells; fail when it does not in time."""
    async with asyncio.timeout(wait_s):
        while not await _told(holds()):
            await asyncio.sleep(_LOOK_EVERY_S)


async def _told(answer: object) -> object:
    return await answer if inspect.isawaitable(answer) else answer
