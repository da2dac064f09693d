"""From the rounds of `bench.stream` to its figures, and to a table for people.

python -m bench.stream_report                                      prints the table of the last run again
python -m bench.stream_report --into docs/explanation/performance-read-side.md        puts it there
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.report import Goal, Points, drawn, drawn_as_markdown, goal_rows, kept, median, shows

GOALS: Final = (
    Goal("visible_p50_ms", "visible after the answer, 100 commands/s: p50, ms", most=150),
    Goal("visible_p99_ms", "visible after the answer, 100 commands/s: p99, ms", most=500),
    Goal("sustained_eps", "sustained to every projection, events/s", least=3000),
    Goal("rebuild_log_eps", "rebuild from the log copy, events/s", least=100_000),
    Goal("rebuild_store_eps", "rebuild from the store, events/s", least=40_000),
    Goal("rebuild_log_linear", "rebuild from the log copy: rate with all entries : with a fifth", least=0.8),
    Goal("rebuild_store_linear", "rebuild from the store: the same", least=0.8),
    Goal("trial_balance_ms", "trial balance, ms", most=60),
    Goal("trial_balance_vs_postgres", "trial balance: Postgres takes so many times as long", least=10),
)
_BEGIN: Final = "<!-- figures of the last run, by: python -m bench.stream_report --into -->"
_LATENCIES: Final = {
    "visible": "a  visible after the answer, {} commands/s",
    "visible_watched": "a  the same, with every part watched",
}
_RATES: Final = {
    "sustained": "b  sustained through Kafka to every projection",
    "rebuild_log": "c  rebuild from the log copy, {} entries",
    "rebuild_store": "c  rebuild from the store, {} entries",
    "fill": "   (writing the log for it, {} entries)",
}


def result(
    points: Points, options: Any, facts: Mapping[str, Any], *, began: float, took_s: float
) -> dict[str, Any]:
    """Everything that is worth keeping of a run."""
    return kept(_figures(points, options.entries), points, options, facts, began=began, took_s=took_s)


def _figures(points: Points, entries: tuple[int, int]) -> dict[str, list[float]]:
    """Each figure, round by round."""

    def of(point: str, name: str) -> list[float]:
        return [float(found[name]) for found in points[point]]

    def linear(what: str) -> list[float]:
        fewer, more = (statistics.median(of(f"{what}/{count}", "per_s")) for count in entries)
        return [more / fewer]

    fewer, more = entries
    balance = points["trial_balance"][0]
    return {
        **{
            f"visible_{quantile}{suffix}": of(f"visible/{rate}", quantile)
            for rate, suffix in ((100, ""), (500, "_500"))
            for quantile in ("p50_ms", "p95_ms", "p99_ms")
        },
        "sustained_eps": of("sustained", "per_s"),
        "sustained_by_kafka": of("sustained", "by_kafka"),
        "rebuild_log_eps": of(f"rebuild_log/{more}", "per_s"),
        "rebuild_log_eps_fewer": of(f"rebuild_log/{fewer}", "per_s"),
        "rebuild_log_linear": linear("rebuild_log"),
        "rebuild_store_eps": of(f"rebuild_store/{more}", "per_s"),
        "rebuild_store_eps_fewer": of(f"rebuild_store/{fewer}", "per_s"),
        "rebuild_store_linear": linear("rebuild_store"),
        "trial_balance_ms": list(balance["ms"]),
        "trial_balance_postgres_ms": list(balance["postgres_ms"]),
        "trial_balance_vs_postgres": [
            postgres / ours for ours, postgres in zip(balance["ms"], balance["postgres_ms"], strict=True)
        ],
    }


def brief(found: Mapping[str, Any]) -> str:
    """One point in a line, while the bench runs."""
    said = [f"{found['per_s']:>9,.0f}/s"] if "per_s" in found else []
    said += [f"{found['seconds']:.1f} s"] if "seconds" in found else []
    said += [
        f"{name.removesuffix('_ms')} {found[name]:.1f} ms"
        for name in ("p50_ms", "p95_ms", "p99_ms", "median_ms", "postgres_median_ms")
        if name in found
    ]
    said += [f"{found['by_kafka']:.1%} by Kafka"] if "by_kafka" in found else []
    return "  ".join(said)


def table(told: Mapping[str, Any], *, markdown: bool = False) -> str:
    """The figures of a run, what was asked of them, and on what it ran."""
    draw = drawn_as_markdown if markdown else drawn
    points = told["points"]
    return "\n\n".join(
        (
            draw(_latency_rows(points)),
            draw(_rate_rows(points)),
            draw(goal_rows(told, GOALS)),
            _circumstances(told),
        )
    )


def _latency_rows(points: Points) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("", "p50 ms", "min-max", "p95 ms", "p99 ms", "samples", "command: p50 ms", "p99 ms")
    ]
    for name, found in points.items():
        what, _, rate = name.partition("/")
        if what not in _LATENCIES:
            continue
        p50 = [each["p50_ms"] for each in found]
        rows.append(
            (
                _LATENCIES[what].format(rate),
                median(found, "p50_ms"),
                f"{min(p50):.0f}-{max(p50):.0f}",
                *(median(found, key) for key in ("p95_ms", "p99_ms")),
                f"{sum(each['samples'] for each in found):,}",
                *(median(found, key) for key in ("post_p50_ms", "post_p99_ms")),
            )
        )
    (balance,) = points["trial_balance"]
    lines = points["postgres_lines"][0]["lines"]
    for key, who in (("ms", "over HTTP"), ("postgres_ms", "the same asked of Postgres")):
        took = balance[key]
        label = f"d  trial balance, {lines:,} lines, {who}"
        spread = f"{min(took):.0f}-{max(took):.0f}"
        rows.append((label, f"{statistics.median(took):.1f}", spread, "", "", f"{len(took)}", "", ""))
    return rows


def _rate_rows(points: Points) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "events/s", "min-max", "s")]
    for label_of, label in _RATES.items():
        for name, found in points.items():
            what, _, count = name.partition("/")
            if what != label_of:
                continue
            per_s = [each["per_s"] for each in found]
            rows.append(
                (
                    label.format(f"{int(count or 0):,}"),
                    f"{statistics.median(per_s):,.0f}",
                    f"{min(per_s):,.0f}-{max(per_s):,.0f}",
                    median(found, "seconds"),
                )
            )
    return rows


def _circumstances(told: Mapping[str, Any]) -> str:
    machine, options, points = told["machine"], told["options"], told["points"]
    postgres = machine["postgres"]
    steps = points["visible_watched"][0]["steps"]
    seen_ms = points["visible_watched"][0]["p50_ms"]
    balance = points["trial_balance"][0]
    by_kafka = min(each["by_kafka"] for each in points["sustained"])
    return (
        f"Medians of {options['rounds']} rounds of {options['seconds']:g} s (a) and of "
        f"{options['events']:,} events (b), {told['began']}, {told['took_s']:.0f} s in all. "
        f"{machine['cores']} cores ({machine['processor']}) for clients and every part together, "
        f"{machine['memory_gib']:g} GiB, {machine['system']}, Python {machine['python']}, "
        f"PostgreSQL {postgres['server_version']} with fsync {postgres['fsync']}, synchronous_commit "
        f"{postgres['synchronous_commit']}, shared_buffers {postgres['shared_buffers']}; ClickHouse is chdb "
        f"{machine['packages']['chdb']}, the broker librdkafka's own.\n\n"
        f"Where the time goes, with every part watched, medians from the answer to the command on: in Kafka "
        f"after {steps['relay_ms']:.0f} ms, in the log copy after {steps['log_copy_ms']:.0f}, in the "
        f"lines after {steps['lines_ms']:.0f}, the query answered after {seen_ms:.0f}. Processor "
        f"time for each event of (b), in µs: {_cpu_per_event(points['sustained'])}. Of these events at least "
        f"{by_kafka:.1%} came by Kafka. Postgres answers (d) by {balance['postgres_plan']}."
    )


def _cpu_per_event(found: Sequence[Mapping[str, Any]]) -> str:
    parts = found[0]["cpu_s"]
    costs = {
        part: statistics.median(1e6 * each["cpu_s"][part] / each["events"] for each in found)
        for part in parts
    }
    return ", ".join(f"{part} {cost:.0f}" for part, cost in costs.items())


main: Final = shows("stream", table, _BEGIN)

if __name__ == "__main__":
    main()
