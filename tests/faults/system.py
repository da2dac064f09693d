"""A whole system, `erp up`, whose parts can be killed one by one, and what its books must say afterwards."""

import shutil
import signal
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

import psutil

from erp.embedded.clickhouse import EmbeddedClickhouse
from erp.embedded.kafka import EmbeddedKafka
from tests.e2e.load import POSTED
from tests.e2e.system import Books, Home, Process, free_port
from tests.waiting import until

REPORTS: Final = (
    "/v1/finance/trial-balance?as_of=2026-12-31",
    "/v1/finance/balance-sheet?as_of=2026-12-31",
    "/v1/finance/income-statement?from=2026-01-01&to=2026-12-31",
    "/v1/finance/accounts/1122/balance?as_of=2026-12-31",
    "/v1/finance/accounts/1122/ledger?from=2026-01-01&to=2026-12-31",
    "/v1/finance/journal-entries?limit=1000",
)


class System:
    """`erp up` on a home of its own, with these settings."""

    def __init__(self, path: Path, **environment: str) -> None:
        self.home = Home(path)
        self.port = free_port()
        self.environment = environment
        self._up: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._up is not None:
            self._up.end()

    def start(self) -> None:
        """Running and ready when this returns."""
        self._up = Process(self.home.path, "up", "--port", str(self.port), **self.environment)
        until(lambda: "Try it" in self.output or not self.up.is_alive(), "erp up is ready")
        assert self.up.is_alive(), self.output

    def stop(self) -> None:
        """In good order."""
        assert self.up.terminate() == 0, self.output

    @property
    def up(self) -> Process:
        assert self._up is not None
        return self._up

    @property
    def output(self) -> str:
        return self.up.output

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def books(self) -> Books:
        """Those of a new tenant, opened."""
        return Books.new(self.home, self.url).opened()

    def pid_of(self, part: str) -> int | None:
        """The process of `relay`, `worker`, `saga`, `broker` or `clickhouse`; None while there is none."""
        if part == "broker":
            return EmbeddedKafka(self.home.path).pid()
        if part == "clickhouse":
            return EmbeddedClickhouse(self.home.path).pid()
        for child in psutil.Process(self.up.pid).children():
            try:
                words = child.cmdline()
                if part in words and (part == "saga") == ("saga" in words):
                    return child.pid
            except psutil.Error:
                continue
        return None

    def kill(self, *parts: str) -> None:
        """kill -9 of all of them at once; returns when each is there again."""
        before = {part: self.pid_of(part) for part in parts}
        for pid in before.values():
            assert pid is not None, before
            psutil.Process(pid).send_signal(signal.SIGKILL)
        for part, pid in before.items():
            until(lambda part=part, pid=pid: self.pid_of(part) not in {None, pid}, f"{part} is back")  # type: ignore[misc]

    def forget_clickhouse(self) -> None:
        """Its data folder is gone. Only while nothing runs."""
        shutil.rmtree(self.home.path / "clickhouse")

    def erp(self, *arguments: str) -> str:
        """What a verb says; it has to end well."""
        done = self.home.erp(*arguments, wait_s=300)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}\n{self.output}"
        return done.stdout


def answer(books: Books, path: str, position: int, wait_s: int = 30) -> Any:
    """A report that knows everything up to the position."""
    join = "&" if "?" in path else "?"
    told = books.send("GET", f"{path}{join}min_position={position}", headers={"Prefer": f"wait={wait_s}"})
    assert told.status_code == 200, told.text
    assert int(told.headers["x-projection-position"]) >= position
    return told


def replayed(books: Books) -> dict[str, tuple[Decimal, Decimal]]:
    """Debit and credit of each account, added up from the events of the store."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for event in books.events(POSTED):
        for line in event["data"]["lines"]:
            debit, credit = found.get(line["account"], (Decimal(0), Decimal(0)))
            found[line["account"]] = (
                debit + Decimal(line["debit"] or 0),
                credit + Decimal(line["credit"] or 0),
            )
    return found


def reported(books: Books, position: int) -> Mapping[str, tuple[Decimal, Decimal]]:
    """The same as the trial balance has it."""
    report = answer(books, REPORTS[0], position).json()
    return {row["account"]: (Decimal(row["debit"]), Decimal(row["credit"])) for row in report["rows"]}


def head(books: Books) -> int:
    """The last position of the log."""
    ((position,),) = books.home.rows("SELECT max(position) FROM erp.events")
    return int(position)
