"""Pauses that an order to stop ends."""

import asyncio
from contextlib import suppress


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Sleep, unless told to stop; whether that was said.

    Not by `asyncio.wait_for`, which forgets a cancellation that comes in the same moment as the order.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
