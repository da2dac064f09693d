"""How fast orders are: `python -m bench.orders` (or `make bench-orders`).

A whole system, started by `erp up` on a home of its own, with everything of it on this machine and Postgres
with fsync on. Orders are placed over HTTP and counted when they are confirmed: all lines reserved, the
payment authorised.

    a  from the instant at which an order is due until it is confirmed, at 20 orders/s; where the time goes
    b  orders/s, sustained
    c  the same with one hot item in every order

Prints one table and writes its figures to `<home>/bench/orders.json`. Anything unexpected ends the bench: an
order that is not confirmed, or with other goods than it wanted, or paid for twice; a dead letter.
"""

import http.client
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click
import orjson
import psycopg

from bench import entries, goods, journeys, orders_report
from bench.children import ChildFailed, ask
from bench.commands import say
from bench.system import TENANT, System, running
from bench.whole import measure
from bench.world import own_folder, postgres_facts
from erp.settings import load_settings
from erp.tokens import issue_token

RATE: Final = 20
_TOKEN_TTL_S: Final = 24 * 3600
_MARGIN_S: Final = 60.0
_QUIET_S: Final = 1.0
_LETTERS: Final = "SELECT count(*) FROM erp.dead_letters"


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 15.0
    warmup_s: float = 3.0
    ahead_max: int = 100


QUICK: Final = Options(rounds=1, seconds=5.0, warmup_s=2.0)


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
            ChildFailed: something did not go as it should.
        """
        with own_folder(self.folder) as home, running(home) as system:
            system.settle(_MARGIN_S)
            self.facts = postgres_facts(system.owner_url)
            token = issue_token(
                system.settings,
                tenant=TENANT,
                user=entries.USER,
                roles=["sales", "storekeeper"],
                ttl_s=_TOKEN_TTL_S,
            )
            _stock(system, token, goods.skus())
            for number in range(1, self.options.rounds + 1):
                say(f"round {number} of {self.options.rounds}")
                self._load(f"latency/{RATE}", system, token, rate=RATE)
                self._load("sustained", system, token)
                # Each round has one of its own: an item with thousands of open orders is another matter.
                hot = f"HOT-{number}"
                _stock(system, token, [hot])
                self._load("hot", system, token, hot=hot)

    def _load(
        self,
        name: str,
        system: System,
        token: str,
        *,
        rate: float | None = None,
        hot: str | None = None,
    ) -> None:
        options = self.options
        _until_quiet(system)
        before = system.standing().head
        heard = system.metrics("sagas")
        with system.processor_time() as used:
            asked = ask(
                "bench.order_load",
                timeout_s=options.warmup_s + options.seconds + _MARGIN_S,
                port=system.port,
                token=token,
                skus=goods.skus(),
                warmup_s=options.warmup_s,
                seconds=options.seconds,
                rate=rate,
                hot=hot,
                ahead_max=None if rate else options.ahead_max,
                watch_url=None if rate else system.owner_url,
            )
            _until_confirmed(system, before, len(asked["orders"]))
        _until_quiet(system)
        found = journeys.journeys(system.owner_url, before, [order for order, _ in asked["orders"]])
        _require_no_letters(system)
        told = _told(system, found, asked)
        self._note(name, {**told, **_by_kafka(heard, system.metrics("sagas")), "cpu_s": used})

    def _note(self, name: str, found: dict[str, Any]) -> None:
        self.points.setdefault(name, []).append(found)
        say(f"  {name:<12} {orders_report.brief(found)}")


def _told(system: System, found: dict[str, journeys.Journey], asked: dict[str, Any]) -> dict[str, Any]:
    """What a load came to. Latencies are those of the orders that were due in its measured time."""
    begins, ends = asked["begins"], asked["ends"]
    counted = []
    for order, due in asked["orders"]:
        found[order].at["due"] = due
        if begins <= due < ends:
            counted.append(found[order])
    journeys.note_published(system.settings, found)
    confirmed = sum(begins <= each.at["confirmed"] < ends for each in found.values())
    return {
        "per_s": confirmed / (ends - begins),
        "confirmed": confirmed,
        "orders": len(found),
        "samples": len(counted),
        **journeys.until_confirmed(counted),
        "post_p50_ms": asked["post"]["p50_ms"],
        "post_p99_ms": asked["post"]["p99_ms"],
        "hops": journeys.hops(counted),
        "waits": sum(each.waits for each in found.values()),
    }


def _stock(system: System, token: str, skus: list[str]) -> None:
    """Register these items and take in their stock.

    Raises:
        ChildFailed: not so.
    """
    for body in (goods.registering(skus), goods.receiving(skus)):
        connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=_MARGIN_S)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        connection.request("POST", goods.BULK_PATH, body, headers)
        answer = connection.getresponse().read()
        connection.close()
        for line in answer.splitlines():
            if orjson.loads(line).get("status") not in {http.client.OK, http.client.CREATED}:
                raise ChildFailed(f"the shop cannot be stocked: {line.decode()}")


def _until_confirmed(system: System, after: int, orders: int) -> None:
    """Return when all of these are.

    Raises:
        ChildFailed: they are not in time.
    """
    deadline = time.monotonic() + _MARGIN_S
    while not journeys.are_confirmed(system.owner_url, after, orders):
        if time.monotonic() > deadline:
            raise ChildFailed(f"not all of {orders} orders are confirmed after {_MARGIN_S:.0f} s")
        time.sleep(0.1)


def _until_quiet(system: System) -> None:
    """Return when nothing is written any more and the read side is there.

    Raises:
        ChildFailed: that does not come.
    """
    deadline = time.monotonic() + _MARGIN_S
    head = -1
    while (now := system.standing().head) != head:
        if time.monotonic() > deadline:
            raise ChildFailed(f"after {_MARGIN_S:.0f} s something is still being written")
        head = now
        time.sleep(_QUIET_S)
    system.settle(_MARGIN_S)


def _require_no_letters(system: System) -> None:
    with psycopg.connect(system.owner_url) as connection:
        found = connection.execute(_LETTERS).fetchone()
    if found is None or found[0]:
        raise ChildFailed("there are dead letters")


def _by_kafka(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What share of the events that sagas were told of came by Kafka, and not later, from the store."""
    heard, *fetched = (
        after[f"erp_saga_{name}_events_total"] - before[f"erp_saga_{name}_events_total"]
        for name in ("heard", "healed", "refilled")
    )
    return {"heard": heard, "by_kafka": 1 - sum(fetched) / heard}


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything: for trying, not for quoting.")
@click.option("--rounds", type=click.IntRange(1, 20), help="Rounds, of which medians are told.  [3]")
@click.option("--seconds", type=click.FloatRange(1, 60), help="Measured time of each point.  [15]")
def main(*, quick: bool, **given: Any) -> None:
    """Measure how fast orders are."""
    chosen = {name: value for name, value in given.items() if value is not None}
    options = replace(QUICK if quick else Options(), **chosen)
    measure("orders", Bench(load_settings().home / "bench", options), orders_report)


if __name__ == "__main__":
    main()
