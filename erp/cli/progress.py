"""How far long work has come: a bar on a terminal, a plain line every two seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

PLAIN_INTERVAL_S = 2.0


class Advance(Protocol):
    """Told of each step that is done."""

    def __call__(self, count: int = 1, /) -> None:
        """`count` more are done."""


@contextmanager
def progress(what: str, total: int | None = None, *, stream: IO[str] | None = None) -> Iterator[Advance]:
    """Shows on stderr (or `stream`) how much of `total` is done; yields the function to report steps with.

    `with progress("journal entries", 1000) as advance: … advance(50)`. The closing line always comes.
    """
    out = stream or sys.stderr
    with _bar(what, total, out) if out.isatty() else _lines(what, total, out) as advance:
        yield advance


@contextmanager
def _bar(what: str, total: int | None, out: IO[str]) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=out)) as bar:
        task = bar.add_task(what, total=total)

        def advance(count: int = 1, /) -> None:
            bar.advance(task, count)

        yield advance


@contextmanager
def _lines(what: str, total: int | None, out: IO[str]) -> Iterator[Advance]:
    began = said = time.monotonic()
    done = 0
    of = "" if total is None else f" of {total:,}"

    def say(now: float) -> None:
        elapsed_s = now - began
        rate = f", {done / elapsed_s:,.0f}/s" if elapsed_s > 0 else ""
        left = (
            ""
            if total is None or not 0 < done < total
            else f", {(total - done) * elapsed_s / done:.0f} s left"
        )
        print(f"{what}: {done:,}{of} after {elapsed_s:.0f} s{rate}{left}", file=out, flush=True)

    def advance(count: int = 1, /) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now - said >= PLAIN_INTERVAL_S:
            said = now
            say(now)

    yield advance
    say(time.monotonic())
