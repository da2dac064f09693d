"""How fast the read side is: `python -m bench.stream` (or `make bench-stream`).

Two whole systems, one after the other, each by `erp up` on a home of its own, with everything of it on this
machine and Postgres with fsync on:

    a  from the answer to a command until a query shows it, at 100 and at 500 commands/s
    b  events/s through relay, Kafka, ingest and projections, sustained
    c  every projection of finance rebuilt, from the log copy and from the store, with one and with five
       million entries
    d  the trial balance over ten million lines, beside the same asked of Postgres with its best index

Prints one table and writes its figures to `<home>/bench/stream.json`. Any unexpected answer ends the bench.
"""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click
import psycopg

from bench import stream_report, trial_balance
from bench.children import ask
from bench.commands import say
from bench.history import TENANT as HISTORY
from bench.history import History
from bench.system import TENANT, System, erp, running, settings_of, standing
from bench.whole import measure
from bench.world import own_folder, postgres_facts
from erp.embedded.clickhouse import EmbeddedClickhouse, place
from erp.embedded.postgres import EmbeddedPostgres
from erp.settings import load_settings
from eventstore.migrate import migrate
from eventstore.tenants import list_tenants

RATES: Final = (100, 500)
WATCHED_RATE: Final = 100
_MARGIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 20.0
    warmup_s: float = 3.0
    samples_per_s: float = 5.0
    events: int = 60_000
    ahead_max: int = 10_000
    entries: tuple[int, int] = (1_000_000, 5_000_000)
    rebuilds_from_log: int = 2
    rebuilds_from_store: int = 1
    questions: int = 20


QUICK: Final = Options(
    rounds=1,
    seconds=3.0,
    warmup_s=1.0,
    events=5000,
    entries=(50_000, 150_000),
    rebuilds_from_log=1,
    questions=5,
)


@dataclass
class Bench:
    """One run: measures point by point, and keeps every figure of every round."""

    folder: Path
    options: Options
    points: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Measure everything.

        Raises:
            ChildFailed: something did not answer as it should.
        """
        with own_folder(self.folder) as home, running(home) as system:
            system.settle(_MARGIN_S)
            self.facts = postgres_facts(system.owner_url)
            for number in range(1, self.options.rounds + 1):
                say(f"round {number} of {self.options.rounds}")
                for rate in RATES:
                    self._visible(f"visible/{rate}", system, rate)
                self._sustained(system)
            self._visible("visible_watched", system, WATCHED_RATE, watch_url=system.owner_url)
        with own_folder(self.folder) as home:
            self._rebuilds(home)

    def _visible(self, name: str, system: System, rate: float, **more: Any) -> None:
        options = self.options
        system.rest(_MARGIN_S)
        with system.processor_time() as used:
            found = ask(
                "bench.visible",
                timeout_s=options.warmup_s + options.seconds + 2 * _MARGIN_S,
                port=system.port,
                token=system.token,
                rate=rate,
                warmup_s=options.warmup_s,
                seconds=options.seconds,
                samples_per_s=options.samples_per_s,
                **more,
            )
        self._note(name, {**found, "cpu_s": used})
        system.settle(_MARGIN_S)

    def _sustained(self, system: System) -> None:
        before = system.metrics("worker")
        (tenant,) = [each.tenant for each in list_tenants(system.owner_url) if each.name == TENANT]
        with system.processor_time() as used:
            found = ask(
                "bench.stream_fill",
                timeout_s=self.options.events / 200 + _MARGIN_S,
                url=system.settings.postgres.need("url"),
                watch_url=system.owner_url,
                tenant=str(tenant),
                events=self.options.events,
                ahead_max=self.options.ahead_max,
            )
        after = system.metrics("worker")
        came = {
            name: int(after[f"erp_worker_{name}_total"] - before[f"erp_worker_{name}_total"])
            for name in ("events", "healed_events", "messages")
        }
        share = 1 - came["healed_events"] / found["events"]
        self._note("sustained", {**found, **came, "by_kafka": share, "cpu_s": used})

    def _rebuilds(self, home: Path) -> None:
        history: History | None = None
        for entries in self.options.entries:
            with EmbeddedPostgres(home) as server:
                migrate(server.url)
                history = history or History(settings_of(home), max(self.options.entries))
                self._note(f"fill/{entries}", history.write(entries))
                _take_for_published(server.url)
                for _ in range(self.options.rebuilds_from_store):
                    # As after the loss of a disk: an empty ClickHouse, and the one command that restores it.
                    shutil.rmtree(place.data_dir(home), ignore_errors=True)
                    with EmbeddedClickhouse(home):
                        self._rebuild(f"rebuild_store/{entries}", home, "--from-store")
            with running(home) as system:
                system.settle(entries / 10_000 + _MARGIN_S)
                for _ in range(self.options.rebuilds_from_log):
                    self._rebuild(f"rebuild_log/{entries}", home)
                if history.written == max(self.options.entries):
                    self._trial_balance(system, history)

    def _rebuild(self, name: str, home: Path, *options: str) -> None:
        with psycopg.connect(settings_of(home).postgres.need("owner_url"), autocommit=True) as connection:
            head = standing(connection).head
        timeout_s = head / 2000 + _MARGIN_S
        seconds, said = erp(home, "projections", "rebuild", "--all", *options, timeout_s=timeout_s)
        self._note(name, {"events": head, "seconds": seconds, "per_s": head / seconds, "said": said})

    def _trial_balance(self, system: System, history: History) -> None:
        self._note("postgres_lines", trial_balance.prepare(system.owner_url))
        asked = trial_balance.questions(system.owner_url, history.tenant, self.options.questions)
        token = system.token_for(HISTORY)
        self._note(
            "trial_balance",
            trial_balance.compare(system.port, token, system.owner_url, history.tenant, asked),
        )

    def _note(self, name: str, found: dict[str, Any]) -> None:
        self.points.setdefault(name, []).append(found)
        say(f"  {name:<22} {stream_report.brief(found)}")


def _take_for_published(owner_url: str) -> None:
    """Kafka keeps events for some time; of a log of this length it has nothing left. And do now what Postgres
    would otherwise do while others measure.
    """
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("UPDATE erp.relay SET position = (SELECT max(position) FROM erp.events)")
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


@click.command()
@click.option(
    "--quick", is_flag=True, help="Less of everything, in about a minute: for trying, not for quoting."
)
@click.option("--rounds", type=click.IntRange(1, 20), help="Rounds, of which medians are told.  [3]")
@click.option("--seconds", type=click.FloatRange(1, 60), help="Measured time of each latency.  [20]")
def main(*, quick: bool, **given: Any) -> None:
    """Measure how fast the read side is."""
    chosen = {name: value for name, value in given.items() if value is not None}
    options = replace(QUICK if quick else Options(), **chosen)
    measure("stream", Bench(load_settings().home / "bench", options), stream_report)


if __name__ == "__main__":
    main()
