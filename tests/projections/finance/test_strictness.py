"""A SELECT throws on what it cannot read, and looks at nothing that it was not asked to read."""

from typing import Any
from uuid import UUID

import pytest

from projections.clickhouse import StatementFailed
from projections.declaration import Projection
from projections.finance.tables import ACCOUNTS, BUCKET, DAILY_BALANCES, ENTRIES, FISCAL_YEARS, LINES
from tests.projections.finance.shelf import Happened, Shelf

MISSING = object()
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
OPENED: dict[str, Any] = {"code": "1", "name": "Cash", "type": "asset", "parent": None, "currencies": None}
YEAR: dict[str, Any] = {"year": 2026, "start": "2026-01-01"}

TEXTS = ["journal", "currency", "memo", "reference"]
DATES = [MISSING, None, "", "soon", "2026-02-30", "2026-13-01", "2026-2-3", "20260203", "2026-02-03T00:00"]
AMOUNTS = ["", "abc", "1.00001", "1e2", "-1.00", " 1", "1,00", "1.", ".5", "NaN", True, [], {"a": 1}, 1e30]


def of_line(**changes: Any) -> dict[str, Any]:
    """An entry whose second line is different."""
    return {"lines": [LINE, without_missing(LINE | changes)]}


def without_missing(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not MISSING}


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
    **{
        f"lines {value!r}": ({"lines": value}, (LINES, DAILY_BALANCES, ENTRIES))
        for value in (MISSING, None, [], "two", {"account": "1000"}, [1, 2], [[]], [None])
    },
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
CASES = [
    pytest.param(projection, changes, id=f"{projection.name}: {name}")
    for name, (changes, projections) in UNREADABLE_POSTINGS.items()
    for projection in projections
]


def posted(position: int, changes: dict[str, Any] | str, number: int = 7) -> Happened:
    """An entry that was posted at once."""
    data = changes if isinstance(changes, str) else without_missing(POSTED | changes)
    kind = "finance.journal_entry.posted"
    return Happened(
        position, UUID(int=1), UUID(int=position), 1, kind, data, series="general/2026", number=number
    )


def other(kind: str, data: dict[str, Any], position: int = 2) -> Happened:
    """Another event."""
    return Happened(position, UUID(int=1), UUID(int=9), 2, kind, without_missing(data))


async def refuses(shelf: Shelf, projection: Projection, event: Happened) -> bool:
    """Whether the projection throws on the event, between others that it reads; nothing may come of it."""
    await shelf.clear()
    readable = [posted(1, {}), posted(3, {})] if event.type.endswith("posted") else []
    await shelf.record([*readable, event])
    try:
        await shelf.project(projection, 0, BUCKET)
    except StatementFailed:
        assert await shelf.table(projection) == []
        return True
    return False


@pytest.mark.parametrize(("projection", "changes"), CASES)
def test_an_unreadable_posting(
    shelf: Shelf, runner: Any, projection: Projection, changes: dict[str, Any] | str
) -> None:
    assert runner.run(refuses(shelf, projection, posted(2, changes)))


@pytest.mark.parametrize("projection", [LINES, DAILY_BALANCES, ENTRIES])
def test_a_readable_posting(shelf: Shelf, runner: Any, projection: Projection) -> None:
    assert not runner.run(refuses(shelf, projection, posted(2, {"posting_date": "2028-02-29"})))


@pytest.mark.parametrize("projection", [LINES, ENTRIES])
def test_a_posting_without_a_number(shelf: Shelf, runner: Any, projection: Projection) -> None:
    assert runner.run(refuses(shelf, projection, posted(2, {}, number=0)))


@pytest.mark.parametrize("changes", [{"reversed_by": MISSING}, {"reversed_by": None}, {"reversed_by": "x"}])
def test_an_unreadable_reversal(shelf: Shelf, runner: Any, changes: dict[str, Any]) -> None:
    data = {"reversed_by": str(UUID(int=5)), "reason": "wrong"}
    kind = "finance.journal_entry.reversed"
    assert runner.run(refuses(shelf, ENTRIES, other(kind, data | changes)))
    assert not runner.run(refuses(shelf, ENTRIES, other(kind, data)))


@pytest.mark.parametrize(
    "changes", [{"code": MISSING}, {"name": None}, {"type": MISSING}, {"type": "assets"}, {"type": 1}]
)
def test_an_unreadable_account(shelf: Shelf, runner: Any, changes: dict[str, Any]) -> None:
    assert runner.run(refuses(shelf, ACCOUNTS, other("finance.account.opened", OPENED | changes)))
    assert not runner.run(refuses(shelf, ACCOUNTS, other("finance.account.opened", OPENED)))


@pytest.mark.parametrize(
    "changes",
    [{"year": MISSING}, {"year": "soon"}, {"year": 70000}, *({"start": value} for value in DATES)],
)
def test_an_unreadable_fiscal_year(shelf: Shelf, runner: Any, changes: dict[str, Any]) -> None:
    kind = "finance.fiscal_calendar.year_opened"
    assert runner.run(refuses(shelf, FISCAL_YEARS, other(kind, YEAR | changes)))
    assert not runner.run(refuses(shelf, FISCAL_YEARS, other(kind, YEAR)))


@pytest.mark.parametrize("projection", [LINES, DAILY_BALANCES, ENTRIES])
def test_what_was_not_asked_for_is_not_looked_at(shelf: Shelf, runner: Any, projection: Projection) -> None:
    """Events beyond the range, of other types, or discarded may hold anything."""

    async def project() -> list[dict[str, Any]]:
        await shelf.clear()
        unreadable = [posted(position, "{") for position in (1, 3, BUCKET + 1)]
        await shelf.record([*unreadable, posted(2, {}), other("finance.other", {}, 4), posted(BUCKET, {})])
        await shelf.project(projection, 1 if projection is not DAILY_BALANCES else 0, BUCKET, {1, 3})
        return await shelf.table(projection)

    assert {row["position"] for row in runner.run(project())} <= {2, BUCKET}
