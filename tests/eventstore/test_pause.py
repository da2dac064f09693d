"""Pauses end when told to stop, and hear a cancellation at any moment."""

import asyncio

import pytest

from eventstore.pause import pause


async def test_it_says_whether_an_order_ended_it() -> None:
    stop = asyncio.Event()
    assert not await pause(stop, 0.001)
    asyncio.get_running_loop().call_later(0.001, stop.set)
    assert await pause(stop, 60)
    assert await pause(stop, 60)


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_that_comes_with_the_order_is_not_forgotten(turns: int) -> None:
    stop = asyncio.Event()

    async def work() -> None:
        await pause(stop, 60)
        await asyncio.sleep(60)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    stop.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    done, _ = await asyncio.wait({working}, timeout=1)
    assert working in done
    assert working.cancelled()
