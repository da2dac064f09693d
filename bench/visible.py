"""How long until what was posted can be read: journal entries in an open loop, a query after some of them.

    python -m bench.visible '{"port": …, "token": …, "rate": 100, "warmup_s": …, "seconds": …,
                              "samples_per_s": 5, "watch_url": null}'

Entries are posted at random moments, so many a second on average, whether or not those before them have been
answered. When the 201 of an entry that was drawn for it arrives, a query that names the entry's position goes
out, and what is measured is the time until that is answered with 200. With `watch_url`, a Postgres URL, the
positions of relay, log copy and projections are looked at all the time, to tell how the time divides up.
"""

import asyncio
import random
from bisect import bisect_left
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final, NamedTuple, cast

import orjson
import psycopg

from bench import entries
from bench.children import carry_out
from bench.system import Standing, standing

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
_WAIT_S: Final = 10
# Before the server hangs up, which it does after 5 s.
_IDLE_MAX_S: Final = 3.0
_LAST_ANSWERS_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.004


class Plan(NamedTuple):
    """What to do to whom."""

    port: int
    token: str
    rate: float
    warmup_s: float
    seconds: float
    samples_per_s: float
    watch_url: str | None = None


class Sample(NamedTuple):
    """An entry that was looked for: when its 201 came and when the query was answered (monotonic)."""

    position: int
    committed_s: float
    seen_s: float


class UnexpectedAnswer(Exception):
    """The server did something else than it was asked to."""


class Line(asyncio.Protocol):
    """A connection, with one request on its way at a time."""

    def __init__(self) -> None:
        self.idle_since_s = 0.0
        self._received = b""
        self._length = 0
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to ask."""
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes, status: bytes) -> bytes:
        """The body of the answer.

        Raises:
            UnexpectedAnswer: it has another status, or none came.
        """
        self._received, self._length = b"", 0
        coming: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answer = coming
        self._transport.write(request)
        answer = await coming
        head, _, body = answer.partition(_END_OF_HEAD)
        if not head.startswith(b"HTTP/1.1 " + status):
            raise UnexpectedAnswer(answer[:1000].decode(errors="replace"))
        return body

    def data_received(self, data: bytes) -> None:
        """Take the answer, or a part of it."""
        self._received += data
        if not self._length:
            head = self._received.find(_END_OF_HEAD)
            if head < 0:
                return
            at = self._received.lower().index(_LENGTH) + len(_LENGTH)
            self._length = (
                head + len(_END_OF_HEAD) + int(self._received[at : self._received.index(b"\r", at)])
            )
        if self._answer is not None and len(self._received) >= self._length:
            self._answer.set_result(self._received)
            self._answer, self.idle_since_s = None, perf_counter()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for an answer hears of it."""
        if self._answer is not None:
            self._answer.set_exception(UnexpectedAnswer(f"the server hung up: {exc}"))

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


class Lines:
    """As many connections as are needed at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Line] = []

    async def ask(self, request: bytes, status: bytes) -> bytes:
        """As `Line.ask`, on one that is idle, or new."""
        line = self._last_used() or await self._new()
        body = await line.ask(request, status)
        self._idle.append(line)
        return body

    def _last_used(self) -> Line | None:
        if self._idle and perf_counter() - self._idle[-1].idle_since_s < _IDLE_MAX_S:
            return self._idle.pop()
        self.close()  # the others have been idle for longer
        return None

    async def _new(self) -> Line:
        _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", self._port)
        return line

    def close(self) -> None:
        """Hang up on all that are idle."""
        while self._idle:
            self._idle.pop().close()


class Run:
    """One run: posts, looks, remembers."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lines = Lines(plan.port)
        self._head = entries.requests_head(plan.token)
        self._query = (
            f"GET /v1/finance/accounts/{entries.DEBIT}/balance?as_of={entries.POSTING_DATE}&min_position=%d"
            f" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {plan.token}\r\n"
            f"Prefer: wait={_WAIT_S}\r\n\r\n"
        ).encode()
        self._seen: list[tuple[float, Standing]] = []
        self.posted_s: list[float] = []
        self.samples: list[Sample] = []

    async def run(self) -> dict[str, Any]:
        """Carry out the plan, and tell what was measured."""
        plan = self._plan
        watching = asyncio.create_task(self._watch()) if plan.watch_url else None
        due = perf_counter()
        begins = due + plan.warmup_s
        tasks: list[asyncio.Task[None]] = []
        while due < begins + plan.seconds:
            await asyncio.sleep(due - perf_counter())
            tasks.append(asyncio.create_task(self._post(len(tasks), due, counts=due >= begins)))
            due += random.expovariate(plan.rate)
        async with asyncio.timeout(_LAST_ANSWERS_S):
            await asyncio.gather(*tasks)
        if watching:
            watching.cancel()
        self._lines.close()
        return self._told()

    async def _post(self, n: int, due: float, *, counts: bool) -> None:
        request = b"%b%b\r\n\r\n%b" % (self._head, entries.key(), entries.body(n))
        answer = await self._lines.ask(request, b"201")
        committed = perf_counter()
        if not counts:
            return
        self.posted_s.append(committed - due)
        if random.random() < self._plan.samples_per_s / self._plan.rate:
            position = int(orjson.loads(answer)["position"])
            await self._lines.ask(self._query % position, b"200")
            self.samples.append(Sample(position, committed, perf_counter()))

    async def _watch(self) -> None:
        assert self._plan.watch_url is not None, "asked for"
        with psycopg.connect(self._plan.watch_url, autocommit=True) as connection:
            while True:
                self._seen.append((perf_counter(), standing(connection)))
                await asyncio.sleep(_LOOK_EVERY_S)

    def _told(self) -> dict[str, Any]:
        plan = self._plan
        told = {
            "rate": plan.rate,
            "posted": len(self.posted_s),
            "per_s": len(self.posted_s) / plan.seconds,
            "samples": len(self.samples),
            **quantiles([each.seen_s - each.committed_s for each in self.samples]),
            "post_p50_ms": quantiles(self.posted_s)["p50_ms"],
            "post_p99_ms": quantiles(self.posted_s)["p99_ms"],
        }
        return {**told, "steps": self._steps()} if self._seen else told

    def _steps(self) -> dict[str, float]:
        """How long after the 201 each part had the entry: medians of the samples."""
        steps = {}
        for name in ("relay", "log_copy", "lines"):
            positions = [getattr(looked, name) for _, looked in self._seen]
            times = [at for at, _ in self._seen]
            after = [
                times[bisect_left(positions, each.position)] - each.committed_s
                for each in self.samples
                if positions[-1] >= each.position
            ]
            steps[f"{name}_ms"] = quantiles(after)["p50_ms"]
        return steps


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """The usual ones, in ms.

    Raises:
        UnexpectedAnswer: there is nothing to be told.
    """
    if not seconds:
        raise UnexpectedAnswer("nothing came in time to be measured")
    ordered = sorted(seconds)
    count = len(ordered)
    return {
        "p50_ms": 1000 * ordered[count // 2],
        "p95_ms": 1000 * ordered[int(count * 0.95)],
        "p99_ms": 1000 * ordered[int(count * 0.99)],
        "max_ms": 1000 * ordered[-1],
    }


async def _run(plan: Plan) -> dict[str, Any]:
    return await Run(plan).run()


if __name__ == "__main__":
    carry_out(Plan, _run)
