"""The load generator: posts journal entries over HTTP from a process of its own, as cheaply as Python can.

    python -m bench.load '{"port": …, "token": …, "connections": …, "warmup_s": …, "seconds": …}'

A closed loop: each connection sends its next request when the answer to the last one is complete. Requests
are put together from prebuilt bytes; of an answer only the status and the length are read, and any status
but 201 ends the run. What is measured is what completes between the end of the warm-up and the end of the
run. One line of JSON comes out, with the generator's own processor time per request: server and client share
the machine.
"""

import asyncio
import resource
from array import array
from time import perf_counter
from typing import Any, Final, NamedTuple, cast

from bench import entries
from bench.children import carry_out

_STATUS: Final = b"HTTP/1.1 201"
_LENGTH: Final = b"content-length: "
_END_OF_HEAD: Final = b"\r\n\r\n"
_ACCEPTED_AFTER_S: Final = 0.1
_LAST_ANSWERS_S: Final = 30.0


class Plan(NamedTuple):
    """What to do to whom."""

    port: int
    token: str
    connections: int
    warmup_s: float
    seconds: float


class UnexpectedAnswer(Exception):
    """The server did not answer 201, or hung up."""


class Run:
    """One run: builds requests, collects latencies, knows when it is over."""

    def __init__(self, plan: Plan) -> None:
        self._head = entries.requests_head(plan.token)
        self._sent = 0
        self._open = plan.connections
        self.latencies_s = array("d")
        self.answered = 0
        self.began = self.ends = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, plan: Plan) -> None:
        """Start the clock."""
        self.began = perf_counter() + plan.warmup_s
        self.ends = self.began + plan.seconds

    def request(self) -> bytes:
        """The next request, under a key that was never used."""
        n = self._sent
        self._sent = n + 1
        return b"%b%b\r\n\r\n%b" % (self._head, entries.key(), entries.body(n))

    def closed(self) -> None:
        """A connection has had its last answer."""
        self._open -= 1
        if not self._open and not self.over.done():
            self.over.set_result(None)

    def failed(self, why: str) -> None:
        """End the run: what follows would measure something else."""
        if not self.over.done():
            self.over.set_exception(UnexpectedAnswer(why))


class Connection(asyncio.Protocol):
    """One connection, with one request on its way at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._received = b""
        self._length = 0
        self._sent_at = 0.0
        self._done = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer; sending begins when all connections are there."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request."""
        self._received = b""
        self._length = 0
        self._sent_at = perf_counter()
        self._transport.write(self._run.request())

    def data_received(self, data: bytes) -> None:
        """Take the answer, or a part of it; when it is whole, send the next request."""
        received = self._received = self._received + data if self._received else data
        if not self._length:
            head = received.find(_END_OF_HEAD)
            if head < 0:
                return
            at = received.find(_LENGTH)
            if not received.startswith(_STATUS) or not 0 < at < head:
                self._run.failed(received[:1000].decode(errors="replace"))
                return
            at += len(_LENGTH)
            self._length = head + len(_END_OF_HEAD) + int(received[at : received.index(b"\r", at)])
        if len(received) < self._length:
            return
        now = perf_counter()
        run = self._run
        run.answered += 1
        if run.began <= now < run.ends:
            run.latencies_s.append(now - self._sent_at)
        if now >= run.ends:
            self._done = True
            self._transport.close()
            return
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of this connection, or of the run if it was not ours to end."""
        if self._done:
            self._run.closed()
        else:
            self._run.failed(f"the server hung up: {exc}")


async def run(plan: Plan) -> dict[str, Any]:
    """Carry out the plan, and tell what was measured.

    Raises:
        UnexpectedAnswer: the server did anything else than post entries.
        TimeoutError: the last answers did not come.
    """
    loop = asyncio.get_running_loop()
    this = Run(plan)
    loop.set_exception_handler(lambda _, context: this.failed(str(context)))
    made: list[Connection] = []
    for _ in range(plan.connections):
        _, connection = await loop.create_connection(lambda: Connection(this), "127.0.0.1", plan.port)
        made.append(connection)
    # A server that is busy with some connections leaves others in its queue for as long as a second.
    await asyncio.sleep(_ACCEPTED_AFTER_S)
    this.begin(plan)
    cpu_s = [0.0, 0.0]

    def note(index: int) -> None:
        cpu_s[index] = _cpu_s()

    loop.call_later(plan.warmup_s, note, 0)
    loop.call_later(plan.warmup_s + plan.seconds, note, 1)
    for connection in made:
        connection.send()
    await asyncio.wait_for(this.over, plan.warmup_s + plan.seconds + _LAST_ANSWERS_S)
    return summary(plan, this.latencies_s, this.answered, cpu_s[1] - cpu_s[0])


def summary(plan: Plan, latencies_s: "array[float]", answered: int, cpu_s: float) -> dict[str, Any]:
    """Figures of a run; `answered` counts the warm-up too."""
    if not latencies_s:
        raise UnexpectedAnswer("no answer came in time to be measured")
    ordered = sorted(latencies_s)
    count = len(ordered)
    return {
        "connections": plan.connections,
        "answered": answered,
        "measured": count,
        "per_s": count / plan.seconds,
        "p50_ms": 1000 * ordered[count // 2],
        "p95_ms": 1000 * ordered[int(count * 0.95)],
        "p99_ms": 1000 * ordered[int(count * 0.99)],
        "max_ms": 1000 * ordered[-1],
        "client_cpu_us": 1e6 * cpu_s / count,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    carry_out(Plan, run)
