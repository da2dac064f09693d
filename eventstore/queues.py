"""A queue a stream, within one process.

Who loads, decides and appends on a hot stream waits for his turn instead of losing
the race again and again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID


class StreamQueues:
    """Turns on streams; a stream that nobody waits for takes no memory."""

    def __init__(self) -> None:
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._users: dict[UUID, int] = {}

    @asynccontextmanager
    async def turn(self, *stream_ids: UUID) -> AsyncIterator[None]:
        """Hold all of these streams.

        They are taken in the order of their ids, so that no two holders wait in a circle.
        """
        async with AsyncExitStack() as held:
            for stream_id in sorted(set(stream_ids)):
                await held.enter_async_context(self._one(stream_id))
            yield

    @asynccontextmanager
    async def _one(self, stream_id: UUID) -> AsyncIterator[None]:
        lock = self._locks.setdefault(stream_id, asyncio.Lock())
        self._users[stream_id] = self._users.get(stream_id, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[stream_id] -= 1
            if not self._users[stream_id]:
                del self._users[stream_id], self._locks[stream_id]

    def __len__(self) -> int:
        return len(self._locks)
