"""What the benches of a whole system have in common: measured, told and kept."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import click

from bench import machine
from bench.children import ChildFailed
from bench.commands import ended_by_sigterm, say
from bench.report import Points, leave
from bench.world import AlreadyRunning


class Bench(Protocol):
    """One run: measures point by point, and keeps every figure of every round."""

    folder: Path
    options: Any
    points: dict[str, list[dict[str, Any]]]
    facts: dict[str, str]

    def run(self) -> None:
        """Measure everything.

        Raises:
            ChildFailed: something did not go as it should.
        """


class Report(Protocol):
    """A module that makes figures of points, and a table of figures."""

    def result(
        self, points: Points, options: Any, facts: Mapping[str, Any], *, began: float, took_s: float
    ) -> dict[str, Any]:
        """Everything that is worth keeping of a run."""

    def table(self, told: Mapping[str, Any], *, markdown: bool = False) -> str:
        """The figures of a run, what was asked of them, and on what it ran."""


def measure(name: str, bench: Bench, report: Report) -> None:
    """Run the bench, print its table and leave its figures in `<folder>/<name>.json`.

    Raises:
        ClickException: it went wrong, or another bench is at it.
    """
    began = time.time()
    try:
        with ended_by_sigterm():
            bench.run()
    except (AlreadyRunning, ChildFailed) as error:
        raise click.ClickException(str(error)) from None
    facts = {**machine.facts(), "postgres": bench.facts}
    told = report.result(bench.points, bench.options, facts, began=began, took_s=time.time() - began)
    file = leave(told, bench.folder, name)
    print(report.table(told))
    say(f"figures: {file}")
