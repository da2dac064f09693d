"""From the rounds of `bench.orders` to its figures, and to a table for people.

python -m bench.orders_report                                      prints the table of the last run again
python -m bench.orders_report --into docs/explanation/performance-orders.md        puts it there
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.report import Goal, Points, drawn, drawn_as_markdown, goal_rows, kept, median, shows

GOALS: Final = (
    Goal("order_p50_ms", "placed to confirmed, 20 orders/s: p50, ms", most=250),
    Goal("orders_per_s", "confirmed orders/s, sustained", least=100),
    Goal("hot_sku_orders_per_s", "the same, one hot item in every order", least=50),
)
_BEGIN: Final = "<!-- figures of the last run, by: python -m bench.orders_report --into -->"
_LATENCY: Final = "latency/20"
_LABELS: Final = {
    _LATENCY: "a  placed to confirmed, 20 orders/s",
    "sustained": "b  sustained",
    "hot": "c  sustained, one hot item in every order",
}
_HOPS: Final = {
    "placed": "the request has come and is in the log",
    "published": "the relay has handed it to Kafka",
    "noticed": "the saga has it, and has decided what to do",
    "reserved": "all its lines are reserved",
    "requested": "the payment is there, the gateway may be asked",
    "authorised": "the gateway's word is in the log",
    "confirmed": "the order is confirmed",
}


def result(
    points: Points, options: Any, facts: Mapping[str, Any], *, began: float, took_s: float
) -> dict[str, Any]:
    """Everything that is worth keeping of a run."""
    return kept(_figures(points), points, options, facts, began=began, took_s=took_s)


def _figures(points: Points) -> dict[str, list[float]]:
    """Each figure, round by round."""

    def of(point: str, name: str) -> list[float]:
        return [float(found[name]) for found in points[point]]

    return {
        **{f"order_{each}": of(_LATENCY, each) for each in ("p50_ms", "p95_ms", "p99_ms")},
        "orders_per_s": of("sustained", "per_s"),
        "hot_sku_orders_per_s": of("hot", "per_s"),
        **{f"hop_{hop}_ms": [found["hops"][hop]["mean_ms"] for found in points[_LATENCY]] for hop in _HOPS},
    }


def brief(found: Mapping[str, Any]) -> str:
    """One point in a line, while the bench runs."""
    times = "  ".join(f"{name.removesuffix('_ms')} {found[name]:.1f} ms" for name in ("p50_ms", "p99_ms"))
    waits = f"  {found['waits']} waits" if found["waits"] else ""
    return f"{found['per_s']:>7.1f}/s  {times}  {found['by_kafka']:.1%} by Kafka{waits}"


def table(told: Mapping[str, Any], *, markdown: bool = False) -> str:
    """The figures of a run, what was asked of them, and on what it ran."""
    draw = drawn_as_markdown if markdown else drawn
    points = told["points"]
    return "\n\n".join(
        (
            draw(_rows(points)),
            draw(_hop_rows(points)),
            draw(goal_rows(told, GOALS)),
            _circumstances(told),
        )
    )


def _rows(points: Points) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("", "orders/s", "min-max", "p50 ms", "p95 ms", "p99 ms", "samples", "request: p50 ms", "p99 ms")
    ]
    for name, label in _LABELS.items():
        found = points[name]
        per_s = [each["per_s"] for each in found]
        rows.append(
            (
                label,
                f"{statistics.median(per_s):.1f}",
                f"{min(per_s):.1f}-{max(per_s):.1f}",
                *(median(found, key) for key in ("p50_ms", "p95_ms", "p99_ms")),
                f"{sum(each['samples'] for each in found):,}",
                *(median(found, key) for key in ("post_p50_ms", "post_p99_ms")),
            )
        )
    return rows


def _hop_rows(points: Points) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("where the time goes, ms", "mean", "p50", "p99", "sustained: mean", "hot")
    ]
    for hop, label in _HOPS.items():
        latency = [each["hops"][hop] for each in points[_LATENCY]]
        others = [[each["hops"][hop] for each in points[name]] for name in ("sustained", "hot")]
        rows.append(
            (
                label,
                *(median(latency, key) for key in ("mean_ms", "p50_ms", "p99_ms")),
                *(median(each, "mean_ms") for each in others),
            )
        )
    return rows


def _circumstances(told: Mapping[str, Any]) -> str:
    machine, options, points = told["machine"], told["options"], told["points"]
    postgres = machine["postgres"]
    by_kafka = min(each["by_kafka"] for found in points.values() for each in found)
    waits = sum(each["waits"] for found in points.values() for each in found)
    return (
        f"Medians of {options['rounds']} rounds of {options['seconds']:g} s a point, after "
        f"{options['warmup_s']:g} s that do not count, {told['began']}, {told['took_s']:.0f} s in all; in "
        f"(b) and (c) never more than {options['ahead_max']} orders are unconfirmed. "
        f"{machine['cores']} cores ({machine['processor']}) for client and every part together, "
        f"{machine['memory_gib']:g} GiB, {machine['system']}, Python {machine['python']}, "
        f"PostgreSQL {postgres['server_version']} with fsync {postgres['fsync']}, synchronous_commit "
        f"{postgres['synchronous_commit']}, shared_buffers {postgres['shared_buffers']}; the broker is "
        f"librdkafka's own, the payment gateway the simulated one.\n\n"
        f"Processor time for each order of (b), in ms: {_cpu_per_order(points['sustained'])}. Of the events "
        f"that sagas heard of at least {by_kafka:.1%} came by Kafka; {waits} steps had to wait."
    )


def _cpu_per_order(found: Sequence[Mapping[str, Any]]) -> str:
    parts = found[0]["cpu_s"]
    costs = {
        part: statistics.median(1000 * each["cpu_s"][part] / each["orders"] for each in found)
        for part in parts
    }
    return ", ".join(f"{part} {cost:.1f}" for part, cost in costs.items())


main: Final = shows("orders", table, _BEGIN)

if __name__ == "__main__":
    main()
