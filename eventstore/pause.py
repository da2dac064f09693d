"""Pauses that an event ends: an order to stop, or news."""

import asyncio
from contextlib import suppress


async def pause(event: asyncio.Event, seconds: float) -> bool:
    """Sleep until the event is set, or for so long; whether it is set.

    Not by `asyncio.wait_for`, which forgets a cancellation that comes in the same moment as the event.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
