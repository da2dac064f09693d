"""How fast commands are, beside what bounds them: `python -m bench.commands` (or `make bench-commands`).

Everything in one run, on one embedded Postgres of its own with fsync on, in rounds in which the system and
what it is measured against take turns, so that what else the machine does meets all of them alike:

    a  journal entries over HTTP, one process and two, on an empty log and on one with a million events
    b  the same requests to a null handler: the same server, application, authentication and validation
    c  the stock `eventsourcing` library saving similar aggregates with its own Postgres recorder
    d  journal entries in bulk
    e  plain Postgres inserting the same rows
    g  an aggregate of ten thousand events, loaded with snapshots and without

Prints one table and writes its figures to `<home>/bench/commands.json`. Any unexpected answer ends the bench.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Final, NoReturn
from uuid import UUID

import click

from bench import machine, report
from bench.children import ChildFailed, Server, ask, asking, serving
from bench.world import AlreadyRunning, World, world
from erp.settings import load_settings
from eventstore.tenants import list_tenants

API: Final = "erp"
NULL_API: Final = "bench.null_api"
CONNECTIONS: Final = (1, 16, 64, 256)
GROWTH_CONNECTIONS: Final = (1, 64)
STOCK_THREADS: Final = (1, 16)
TWO_PROCESSES_CONNECTIONS: Final = 64
LONG_STREAM_EVENTS: Final = 10_000
_MARGIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 4.0
    warmup_s: float = 1.0
    events: int = 1_000_000
    bulk_lines: int = 15_000
    plain_rows: int = 100_000
    loads: int = 25
    settle_s: float = 10.0


QUICK: Final = Options(
    rounds=1,
    seconds=0.8,
    warmup_s=0.3,
    events=30_000,
    bulk_lines=3000,
    plain_rows=20_000,
    loads=9,
    settle_s=1.0,
)


@dataclass
class Bench:
    """One run: measures point by point, and keeps every figure of every round."""

    world: World
    options: Options
    points: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def run(self) -> None:
        """Measure everything.

        Raises:
            ChildFailed: something did not answer as it should.
        """
        world = self.world
        filled = world.database("filled")
        self._note("fill", self._fill(filled))
        world.settle(filled)
        stock, plain = world.bare_database("stock"), world.database("plain")
        with (
            serving(API, world.environment(filled)) as full,
            serving(NULL_API, world.environment(world.database("null"))) as null,
        ):
            # After a checkpoint the first change of a page logs all of it. Random keys reach every page of
            # their index, so on the large log that goes on for seconds: told, and then left behind.
            self._http("http_after_checkpoint", full, max(GROWTH_CONNECTIONS), seconds=self.options.settle_s)
            for number in range(1, self.options.rounds + 1):
                say(f"round {number} of {self.options.rounds}")
                self._round(f"round{number}", full=full, null=null, stock=stock, plain=plain)
        self._long_stream()

    def _round(self, name: str, *, full: Server, null: Server, stock: str, plain: str) -> None:
        database = self.world.database(name)
        environment = self.world.environment(database)
        with serving(API, environment) as one, serving(API, environment, workers=2) as two:
            for connections in CONNECTIONS:
                self._http("http", one, connections)
                if connections in GROWTH_CONNECTIONS:
                    self._http("http_filled", full, connections)
                if connections == TWO_PROCESSES_CONNECTIONS:
                    self._http("http_two_processes", two, connections)
                self._http("null", null, connections)
                if connections in STOCK_THREADS:
                    self._stock(stock, connections)
            self._bulk("bulk", one, bodies=1)
            self._bulk("bulk", one, bodies=2)
            self._bulk("bulk_two_processes", two, bodies=2)
        self.world.drop(database)
        self._peer("plain_single", peer="single", database=plain, **self._timing())
        self._peer("plain", peer="plain", database=plain, rows=self.options.plain_rows)

    def _timing(self) -> dict[str, float]:
        return {"warmup_s": self.options.warmup_s, "seconds": self.options.seconds}

    def _http(self, what: str, server: Server, connections: int, *, seconds: float | None = None) -> None:
        timing = self._timing() if seconds is None else {"warmup_s": 0.0, "seconds": seconds}
        with self._processor_time(server) as per_answer:
            found = ask(
                "bench.load",
                timeout_s=sum(timing.values()) + _MARGIN_S,
                port=server.port,
                token=self.world.token,
                connections=connections,
                **timing,
            )
        self._note(f"{what}/{connections}", {**found, **per_answer(found["answered"])})

    def _bulk(self, what: str, server: Server, *, bodies: int) -> None:
        lines = self.options.bulk_lines
        with self._processor_time(server) as per_answer:
            found = ask(
                "bench.bulk",
                timeout_s=4 * _MARGIN_S,
                port=server.port,
                token=self.world.token,
                lines=lines,
                bodies=bodies,
            )
        self._note(f"{what}/{bodies}", {**found, **per_answer(lines * bodies)})

    def _stock(self, database: str, threads: int) -> None:
        self._peer(f"stock/{threads}", peer="stock", database=database, threads=threads, **self._timing())

    def _peer(self, name: str, **asked: Any) -> None:
        self._note(name, ask("bench.peers", timeout_s=4 * _MARGIN_S, home=str(self.world.home), **asked))

    def _fill(self, database: str) -> dict[str, Any]:
        """Two processes: one packs while the other's batch is at the database."""
        half = self.options.events // 2
        url, tenant = self.world.app_url(database), self._tenant(database)
        began = time.monotonic()
        with ExitStack() as stack:
            answers = [
                stack.enter_context(
                    asking(
                        "bench.fill",
                        timeout_s=self.options.events / 2000 + _MARGIN_S,
                        url=url,
                        tenant=str(tenant),
                        first=first,
                        events=half,
                    )
                )
                for first in (0, half)
            ]
            for answer in answers:
                answer()
        seconds = time.monotonic() - began
        return {"events": 2 * half, "seconds": seconds, "per_s": 2 * half / seconds}

    def _long_stream(self) -> None:
        database = self.world.database("long_stream")
        found = ask(
            "bench.long_stream",
            timeout_s=4 * _MARGIN_S,
            url=self.world.app_url(database),
            owner_url=self.world.owner_url(database),
            tenant=str(self._tenant(database)),
            events=LONG_STREAM_EVENTS,
            loads=self.options.loads,
        )
        self._note("long_stream", found)

    def _tenant(self, database: str) -> UUID:
        (tenant,) = list_tenants(self.world.owner_url(database))
        return tenant.tenant

    @contextmanager
    def _processor_time(self, server: Server) -> Iterator[Callable[[int], dict[str, float]]]:
        """What server and Postgres spend in the block; call what is yielded afterwards for µs per answer."""
        spent_s = [-server.cpu_s(), -self.world.postgres_cpu_s()]

        def per_answer(answers: int) -> dict[str, float]:
            server_s, postgres_s = spent_s
            return {
                "server_cpu_us": 1e6 * server_s / answers,
                "postgres_cpu_us": 1e6 * postgres_s / answers,
            }

        yield per_answer
        spent_s[0] += server.cpu_s()
        spent_s[1] += self.world.postgres_cpu_s()

    def _note(self, name: str, found: dict[str, Any]) -> None:
        self.points.setdefault(name, []).append(found)
        say(f"  {name:<22} {report.brief(found)}")


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that children stop and folders go."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command()
@click.option(
    "--quick", is_flag=True, help="Less of everything, in under a minute: for trying, not for quoting."
)
@click.option("--rounds", type=click.IntRange(1, 20), help="Rounds, of which medians are told.  [3]")
@click.option("--seconds", type=click.FloatRange(0.2, 60), help="Measured time of each point.  [4]")
@click.option("--events", type=click.IntRange(2), help="Events in the filled log.  [1000000]")
def main(*, quick: bool, **given: Any) -> None:
    """Measure how fast commands are, beside what bounds them."""
    chosen = {name: value for name, value in given.items() if value is not None}
    options = replace(QUICK if quick else Options(), **chosen)
    folder = load_settings().home / "bench"
    began = time.time()
    try:
        with ended_by_sigterm(), world(folder) as here:
            bench = Bench(here, options)
            bench.run()
            facts = {**machine.facts(), "postgres": here.facts()}
    except (AlreadyRunning, ChildFailed) as error:
        raise click.ClickException(str(error)) from None
    told = report.result(bench.points, options, facts, began=began, took_s=time.time() - began)
    file = report.leave(told, folder, "commands")
    print(report.table(told))
    say(f"figures: {file}")


if __name__ == "__main__":
    main()
