"""Every report, for random histories at random days and positions, says what plain books say."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.shared.money import CURRENCIES
from projections.finance.journal_entries import ListedEntry, journal_entries
from projections.finance.ledger import ledger
from projections.finance.statements import balance_sheet, income_statement
from projections.finance.tables import BUCKET, FINANCE_PROJECTIONS
from projections.finance.trial_balance import account_balance, trial_balance
from projections.reading import View
from tests.projections.finance.model import TYPES, YEARS, Books, Entry, Line
from tests.projections.shelf import Shelf, splits

TENANTS = (UUID(int=1), UUID(int=2))
DAYS = st.dates(date(2024, 12, 25), date(2027, 2, 5)) | st.sampled_from(
    [date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 28)]
)
AMOUNTS = st.integers(1, 10**6) | st.just(10**18)
CODES = st.sampled_from(sorted(TYPES))
CURRENCY = st.sampled_from(["EUR", "JPY", "BHD"])


@st.composite
def entries(draw: st.DrawFn) -> Callable[[UUID], Entry]:
    currency = draw(CURRENCY)
    unit = Decimal(1).scaleb(-CURRENCIES[currency])
    amounts = draw(st.lists(AMOUNTS, min_size=1, max_size=3))
    lines = [Line(draw(CODES), each * unit) for each in amounts]
    lines.insert(draw(st.integers(0, len(lines))), Line(draw(CODES), -sum(amounts) * unit))
    day, reference = draw(DAYS), draw(st.sampled_from(["", "R-1", "R-2"]))
    return lambda id_: Entry(id_, day, currency, reference, lines)


STEPS = st.tuples(
    st.sampled_from(["post", "post", "draft", "post draft", "discard", "reverse"]),
    st.integers(0, 1),
    entries(),
    st.integers(0, 100),
    # How many positions others take meanwhile: few, or up to an edge of a bucket.
    st.sampled_from([0, 0, 0, 1, 5]) | st.sampled_from([-2, -1, 0, 1]).map(lambda off: BUCKET + off),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[UUID, Books], int]:
    """Books of two tenants whose events are mixed, and the last position."""
    books = {tenant: Books(tenant) for tenant in TENANTS}
    position = 0
    for each in books.values():
        for year in YEARS:
            position += 1
            each.open_year(year, position)
        for code in TYPES:
            position += 1
            each.open_account(code, position)
    for number, (step, whose, make, which, gap) in enumerate(draw(st.lists(STEPS, max_size=18)), start=100):
        book = books[TENANTS[whose]]
        position = _after(position, gap)
        taken = _act(book, step, make(UUID(int=number)), which, position)
        position += taken - 1
    return books, position


def _after(position: int, gap: int) -> int:
    if gap < BUCKET - 2:
        return position + gap + 1
    edge = (position // BUCKET + 1) * BUCKET
    return max(position + 1, edge + gap - BUCKET)


def _act(books: Books, step: str, entry: Entry, which: int, position: int) -> int:
    """Do the step, or post where it cannot be done; returns how many positions it took."""
    drafts = [each for each in books.entries if each.drafted and not each.posted and not each.discarded]
    posted = [each for each in books.entries if each.posted and not each.reversed]
    if step == "draft":
        books.draft(entry, position)
    elif step in {"post draft", "discard"} and drafts:
        (books.post if step == "post draft" else books.discard)(drafts[which % len(drafts)], position)
    elif step == "reverse" and posted:
        original = posted[which % len(posted)]
        entry.currency, entry.reference = original.currency, original.reference
        entry.lines = [Line(each.account, -each.amount) for each in original.lines]
        books.reverse(original, entry, position)
        return 2
    else:
        books.post(entry, position)
    return 1


# An example takes a second, and shrinking many of them.
@settings(max_examples=15, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_reports_are_what_the_books_say(shelf: Shelf, runner: asyncio.Runner, data: st.DataObject) -> None:
    books, end = data.draw(histories())
    closed = data.draw(st.just(end) | st.integers(0, end))
    ranges = [
        (each, data.draw(splits(closed if each.definition.step > 1 else end, each.definition.step)))
        for each in FINANCE_PROJECTIONS
    ]
    at = data.draw(st.integers(0, end) | st.just(end) | _edges(end))
    since, as_of = sorted((data.draw(DAYS), data.draw(DAYS)))
    account, currency = data.draw(CODES), data.draw(CURRENCY)
    ranged = data.draw(_some([(since, as_of), (None, as_of), (since, None)]))
    wanted = data.draw(
        _some(
            [
                {},
                {"status": "draft"},
                {"status": "posted", "reference": "R-1"},
                {"status": "reversed"},
                {"account": account, "first": since},
                {"last": as_of},
            ]
        )
    )

    async def compare() -> None:
        await shelf.clear()
        await shelf.record(event for each in books.values() for event in each.events)
        for projection, chosen in ranges:
            for after, up_to in chosen:
                await shelf.project(projection, after, up_to)
        for tenant, kept in books.items():
            view = shelf.view(tenant, at)
            await _compare_sums(view, kept, as_of=as_of, since=since, account=account, currency=currency)
            if at >= kept.opened[account]:
                for first, last in ranged:
                    found = await ledger(view, account=account, first=first, last=last)
                    assert found == kept.ledger(at, account, first, last)
            for each in wanted:
                assert await _listed(view, **each) == kept.journal_entries(at, **each)

    runner.run(compare())


def _edges(end: int) -> st.SearchStrategy[int]:
    edges = range(0, end + 2, BUCKET)
    return st.sampled_from(edges).flatmap(lambda edge: st.integers(max(0, edge - 1), min(end, edge + 1)))


async def _compare_sums(
    view: View, books: Books, *, as_of: date, since: date, account: str, currency: str
) -> None:
    at = view.position
    assert await trial_balance(view, as_of=as_of) == books.trial_balance(at, as_of)
    assert await trial_balance(view, as_of=as_of, currency=currency) == books.trial_balance(
        at, as_of, currency
    )
    if at >= books.opened[account]:
        found = await account_balance(view, account=account, as_of=as_of)
        assert found == books.account_balance(at, account, as_of)
    sheet = await balance_sheet(view, as_of=as_of)
    assert sheet == books.balance_sheet(at, as_of)
    for code in sheet.current_year_result:
        left = sum(Decimal(each.totals[code]) for each in sheet.sections)
        assert left == Decimal(sheet.current_year_result[code]) + Decimal(sheet.prior_years_result[code])
    statement = await income_statement(view, first=since, last=as_of)
    assert statement == books.income_statement(at, since, as_of)


def _some(questions: Sequence[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(questions), min_size=1, max_size=2, unique_by=str)


async def _listed(view: View, **wanted: Any) -> list[ListedEntry]:
    """All pages."""
    items: list[ListedEntry] = []
    after: int | None = 0
    while after is not None:
        page = await journal_entries(view, limit=4, after=after, **wanted)
        items += page.items
        after = page.next_after
    return items
