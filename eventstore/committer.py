"""Group commit: requests that arrive while one batch is at the database form the next one.

One connection, one call of `erp.append_events` a batch. A request whose outcome is unknown, because the
connection broke, is simply sent again: the database settles it by its idempotency key, under the same lock,
so it happens once. An error that is not the connection's is pinned on the request that causes it by halving
the batch.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

import psycopg

from domain.shared.errors import Unavailable
from eventstore.request import APPEND, AppendReceipt, AppendRequest, Batch, pack, unpack

log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]

# So that a batch of the largest entries is done well within the time that a call may take.
_BATCH_BYTES_ENOUGH: Final = 4 * 1024 * 1024
_RETRY_PAUSE_S: Final = 0.05
# The class of program_limit_exceeded: psycopg counts it as operational, but it will not pass by waiting.
_ASKED_TOO_MUCH: Final = "54"


class _Waiting(NamedTuple):
    """A request, who is to be told how it ended, and when it came (in the loop's seconds)."""

    request: AppendRequest
    settled: "asyncio.Future[AppendReceipt]"
    arrived_s: float


def is_outage(error: Exception) -> bool:
    """Whether the error tells of the database's state (gone, starting, full, …) and not of what was asked."""
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate is None or not sqlstate.startswith(_ASKED_TOO_MUCH)


class GroupCommitter:
    """Appends requests, many a transaction.

    Args:
        connect: opens a connection in autocommit mode.
        batch_requests_max: how many requests share a transaction at most.
        patience_s: how long a batch is tried while the database is out of reach, from the arrival of its last
            request on; twice in any case.
        call_timeout_s: how long one call may take before its connection is given up.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        batch_requests_max: int = 500,
        patience_s: float = 3.0,
        call_timeout_s: float = 10.0,
    ) -> None:
        self._connect = connect
        self._batch_requests_max = batch_requests_max
        self._patience_s = patience_s
        self._call_timeout_s = call_timeout_s
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._loop: asyncio.Task[None] | None = None
        self.batches = 0
        self.requests = 0

    async def append(self, request: AppendRequest) -> AppendReceipt:
        """Append the request in the next batch that can take it.

        Raises:
            Unavailable: the database was out of reach; its key tells whether the request was stored.
            psycopg.Error: the database refuses this request.
        """
        if self._closing:
            detail = "The event store is shutting down."
            raise Unavailable(detail)
        if self._loop is None:
            self._loop = asyncio.create_task(self._commit_batches(), name="group-committer")
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[AppendReceipt] = loop.create_future()
        self._waiting.append(_Waiting(request, settled, loop.time()))
        self._arrived.set()
        return await settled

    async def close(self) -> None:
        """Finish what was taken on, then hang up."""
        self._closing = True
        self._arrived.set()
        if self._loop is not None:
            await self._loop
        await self._hang_up()

    async def _commit_batches(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._settle(self._next_batch())

    def _next_batch(self) -> list[_Waiting]:
        """The longest run of independent requests, in the order of arrival; the others keep their place."""
        batch = Batch()
        taken: list[_Waiting] = []
        deferred: list[_Waiting] = []
        while (
            self._waiting
            and len(taken) < self._batch_requests_max
            and len(deferred) < self._batch_requests_max
            and batch.data_bytes < _BATCH_BYTES_ENOUGH
        ):
            waiting = self._waiting.popleft()
            (taken if batch.add(waiting.request) else deferred).append(waiting)
        self._waiting.extendleft(reversed(deferred))
        return taken

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        requests = [waiting.request for waiting in batch]
        # From the last arrival on: who had to wait for others does not wait for the database as long again.
        give_up_at = max(waiting.arrived_s for waiting in batch) + self._patience_s
        try:
            receipts = await self._commit(requests, give_up_at)
        except Unavailable as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn of it
            if len(batch) == 1:
                self._fail(batch, error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        else:
            for waiting, receipt in zip(batch, receipts, strict=True):
                # Whoever waited may have hung up; the events are stored all the same.
                if not waiting.settled.done():
                    waiting.settled.set_result(receipt)

    def _fail(self, batch: Sequence[_Waiting], error: Exception) -> None:
        for waiting in batch:
            if not waiting.settled.done():
                waiting.settled.set_exception(error)

    async def _commit(self, requests: Sequence[AppendRequest], give_up_at: float) -> list[AppendReceipt]:
        """One transaction, sent again while the database is out of reach and there is patience left."""
        packed = pack(requests).decode()
        clock = asyncio.get_running_loop().time
        for attempt in count(1):
            try:
                async with asyncio.timeout(self._call_timeout_s):
                    answer = await self._call(packed)
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError) as error:
                await self._hang_up()
                if not is_outage(error):
                    raise
                # Twice in any case: one broken connection does not mean that the database is gone.
                if attempt > 1 and clock() >= give_up_at:
                    detail = "The event store cannot be reached."
                    raise Unavailable(detail) from error
                if attempt == 1:
                    reason = str(error).strip() or type(error).__name__
                    log.warning("append not answered, sending it again: %s", reason)
                await asyncio.sleep(_RETRY_PAUSE_S)
            else:
                self.batches += 1
                self.requests += len(requests)
                return unpack(requests, answer)
        raise AssertionError

    async def _call(self, packed: str) -> str:
        if self._connection is None:
            self._connection = await self._connect()
        cursor = await self._connection.execute(APPEND, [packed], prepare=True)
        row = await cursor.fetchone()
        if row is None:
            detail = "erp.append_events answered nothing"
            raise RuntimeError(detail)
        return str(row[0])

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
