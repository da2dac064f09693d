"""The two ends of a pipe that the event loop holds, while a thread of the engine blocks on the other."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

PIECE_BYTES = 1 << 20
# Most answers are small, and a buffer of a megabyte costs more than they do.
_FIRST_BYTES = 1 << 14


def pipe() -> tuple[int, int]:
    """A new pipe: its reading and its writing end, with room for a piece where the system grants it."""
    reading, writing = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # more than this user may have
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIECE_BYTES)
    return reading, writing


async def read(descriptor: int) -> AsyncIterator[bytes]:
    """Everything that comes out until the last writer is gone."""
    os.set_blocking(descriptor, False)
    loop = asyncio.get_running_loop()
    size = _FIRST_BYTES
    while True:
        try:
            piece = os.read(descriptor, size)
        except BlockingIOError:
            await _ready(descriptor, loop.add_reader, loop.remove_reader)
            continue
        if not piece:
            return
        if len(piece) == size:
            size = min(size * 4, PIECE_BYTES)
        yield piece


async def write(descriptor: int, data: bytes) -> None:
    """All of it, as fast as it is taken at the other end.

    Raises:
        BrokenPipeError: nobody is there any more.
    """
    os.set_blocking(descriptor, False)
    loop = asyncio.get_running_loop()
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest[:PIECE_BYTES]) :]
        except BlockingIOError:
            await _ready(descriptor, loop.add_writer, loop.remove_writer)


async def _ready(
    descriptor: int, add: Callable[[int, Callable[[], object]], object], remove: Callable[[int], object]
) -> None:
    ready = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(descriptor, wake)
    try:
        await ready
    finally:
        remove(descriptor)
