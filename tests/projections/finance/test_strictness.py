"""A SELECT throws on what it cannot read, and looks at nothing that it was not asked to read."""

from typing import Any
from uuid import UUID

import pytest

from projections.declaration import Projection
from projections.finance.tables import ACCOUNTS, BUCKET, DAILY_BALANCES, ENTRIES, FISCAL_YEARS, LINES
from tests.projections.shelf import MISSING, Happened, Shelf, without_missing

LINE: dict[str, Any] = {
    "account": "1000",
    "debit": "1.00",
    "credit": None,
    "memo": "",
    "dimensions": {},
    "party": None,
}
POSTED: dict[str, Any] = {
    "journal": "general",
    "posting_date": "2026-02-03",
    "currency": "EUR",
    "memo": "",
    "reference": "",
    "lines": [LINE, LINE | {"debit": None, "credit": "1.00"}],
    "reverses": None,
    "drafted_by": "alice",
}

TEXTS = ["journal", "currency", "memo", "reference"]
DATES: list[Any] = [
    MISSING,
    None,
    "",
    "soon",
    "2026-02-30",
    "2026-13-01",
    "2026-2-3",
    "20260203",
    "2026-02-03T00:00",
]
AMOUNTS: list[Any] = [
    "",
    "abc",
    "1.00001",
    "1e2",
    "-1.00",
    " 1",
    "1,00",
    "1.",
    ".5",
    "NaN",
    True,
    [],
    {"a": 1},
    1e30,
]

NO_LINES: list[Any] = [MISSING, None, [], "two", {"account": "1000"}, [1, 2], [[]], [None]]


def of_line(**changes: Any) -> dict[str, Any]:
    """An entry whose second line is different."""
    return {"lines": [LINE, without_missing(LINE | changes)]}


UNREADABLE_POSTINGS: dict[str, tuple[dict[str, Any] | str, tuple[Projection, ...]]] = {
    **{f"no {name}": ({name: MISSING}, (LINES, ENTRIES)) for name in TEXTS if name != "currency"},
    **{f"null {name}": ({name: None}, (LINES, ENTRIES)) for name in TEXTS if name != "currency"},
    "no currency": ({"currency": MISSING}, (LINES, DAILY_BALANCES, ENTRIES)),
    "nobody drafted it": ({"drafted_by": MISSING}, (ENTRIES,)),
    "reverses nonsense": ({"reverses": "that one"}, (ENTRIES,)),
    **{
        f"posting_date {value!r}": ({"posting_date": value}, (LINES, DAILY_BALANCES, ENTRIES))
        for value in DATES
    },
    **{f"lines {value!r}": ({"lines": value}, (LINES, DAILY_BALANCES, ENTRIES)) for value in NO_LINES},
    **{f"debit {value!r}": (of_line(debit=value), (LINES, DAILY_BALANCES, ENTRIES)) for value in AMOUNTS},
    **{
        f"credit {value!r}": (of_line(debit=None, credit=value), (LINES, DAILY_BALANCES)) for value in AMOUNTS
    },
    "both sides": (of_line(credit="1.00"), (LINES, DAILY_BALANCES)),
    "neither side": (of_line(debit=None), (LINES, DAILY_BALANCES)),
    "no side": (of_line(debit=MISSING, credit=MISSING), (LINES, DAILY_BALANCES)),
    **{
        f"account {value!r}": (of_line(account=value), (LINES, DAILY_BALANCES, ENTRIES))
        for value in (MISSING, None)
    },
    "no memo of a line": (of_line(memo=MISSING), (LINES,)),
    **{
        f"dimensions {value!r}": (of_line(dimensions=value), (LINES,))
        for value in (MISSING, None, "", "a", ["a"])
    },
    **{
        f"data {value!r}": (value, (LINES, DAILY_BALANCES, ENTRIES))
        for value in ("", "{", "[]", "null", "{}")
    },
}
OTHERS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]], Projection]] = {
    "reversal": (
        "finance.journal_entry.reversed",
        {"reversed_by": str(UUID(int=5)), "reason": "wrong"},
        [{"reversed_by": MISSING}, {"reversed_by": None}, {"reversed_by": "x"}],
        ENTRIES,
    ),
    "account": (
        "finance.account.opened",
        {"code": "1", "name": "Cash", "type": "asset", "parent": None, "currencies": None},
        [{"code": MISSING}, {"name": None}, {"type": MISSING}, {"type": "assets"}, {"type": 1}],
        ACCOUNTS,
    ),
    "year": (
        "finance.fiscal_calendar.year_opened",
        {"year": 2026, "start": "2026-01-01"},
        [{"year": MISSING}, {"year": "soon"}, {"year": 70000}, *({"start": value} for value in DATES)],
        FISCAL_YEARS,
    ),
}
FORMS = (LINES, DAILY_BALANCES, ENTRIES)


def posted(position: int, changes: dict[str, Any] | str, number: int = 7) -> Happened:
    """An entry that was posted at once."""
    data = changes if isinstance(changes, str) else without_missing(POSTED | changes)
    kind = "finance.journal_entry.posted"
    return Happened(
        position, UUID(int=1), UUID(int=position), 1, kind, data, series="general/2026", number=number
    )


def other(position: int, kind: str, data: dict[str, Any]) -> Happened:
    """Another event."""
    return Happened(position, UUID(int=1), UUID(int=9), 2, kind, without_missing(data))


def cases() -> tuple[list[Happened], list[Any], list[Any]]:
    """Events one after the other, and who can read which and who cannot."""
    events: list[Happened] = []
    unreadable: list[Any] = []
    readable: list[Any] = []

    def case(kept: list[Any], event: Happened, projection: Projection, name: str) -> None:
        kept.append(pytest.param(projection, event.position, id=f"{projection.name}: {name}"))

    for name, (changes, projections) in UNREADABLE_POSTINGS.items():
        events.append(posted(len(events) + 1, changes))
        for projection in projections:
            case(unreadable, events[-1], projection, name)
    events.append(posted(len(events) + 1, {}, number=0))
    for projection in (LINES, ENTRIES):
        case(unreadable, events[-1], projection, "no number")
    for changes in ({}, {"posting_date": "2028-02-29"}, of_line(debit="1234567890123456789.1234")):
        events.append(posted(len(events) + 1, changes))
        for projection in FORMS:
            case(readable, events[-1], projection, f"{changes}")
    for name, (kind, data, spoilt, projection) in OTHERS.items():
        for changes in ({}, *spoilt):
            events.append(other(len(events) + 1, kind, data | changes))
            case(
                unreadable if changes else readable, events[-1], projection, f"{name} {list(changes.items())}"
            )
    return events, unreadable, readable


EVENTS, UNREADABLE, READABLE = cases()


@pytest.fixture(scope="module")
def recorded(shelf: Shelf, runner: Any) -> Shelf:
    """All of them in the log copy, the good among the bad."""
    runner.run(shelf.clear())
    runner.run(shelf.record(EVENTS))
    return shelf


@pytest.mark.parametrize(("projection", "position"), UNREADABLE)
def test_it_throws(recorded: Shelf, runner: Any, projection: Projection, position: int) -> None:
    assert not runner.run(recorded.can_read(projection, position))


@pytest.mark.parametrize(("projection", "position"), READABLE)
def test_it_reads(recorded: Shelf, runner: Any, projection: Projection, position: int) -> None:
    """Also that nothing around it is looked at, for that is unreadable."""
    assert runner.run(recorded.can_read(projection, position))


@pytest.mark.parametrize("projection", FORMS)
def test_what_was_not_asked_for_is_not_looked_at(shelf: Shelf, runner: Any, projection: Projection) -> None:
    """Events beyond the range, of other types, or discarded may hold anything."""

    async def project() -> list[dict[str, Any]]:
        await shelf.clear()
        unreadable = [posted(position, "{") for position in (1, 3, BUCKET + 1)]
        await shelf.record([*unreadable, posted(2, {}), other(4, "finance.other", {}), posted(BUCKET, {})])
        await shelf.project(projection, 0, BUCKET, {1, 3})
        return await shelf.table(projection)

    assert {row["position"] for row in runner.run(project())} <= {2, BUCKET}
