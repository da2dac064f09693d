"""Waiting for the watermark."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from projections.checkpoints import LogCopy
from projections.watermark import Watermark


@pytest.mark.parametrize("ticks", range(16))
async def test_who_is_cancelled_just_as_it_moves_ends(ticks: int) -> None:
    """Else the projector would wait for ever for those that it has told to end, and nothing would go on."""
    nothing: Any = None
    watermark = Watermark(nothing, nothing, nothing, LogCopy(uuid4(), 0), nothing)
    wanted = False

    async def wait_on_and_on() -> None:
        while True:
            await watermark.wait_until(lambda _: wanted, within_s=60)
            await asyncio.sleep(0)

    waiting = [asyncio.create_task(wait_on_and_on()) for _ in range(6)]
    await asyncio.sleep(0.01)
    wanted = True
    await watermark.want(1)
    for _ in range(ticks):
        await asyncio.sleep(0)
    wanted = False
    for each in waiting:
        each.cancel()
    _, left = await asyncio.wait(waiting, timeout=1)
    for each in left:
        each.cancel()
    assert not left
