"""What holds for every ledger, whatever is tried."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from domain.finance.account import Account
from domain.finance.account_mapping import AccountMapping
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.double_entry import EntryContent, JournalLine
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.finance.journal_entry import JournalEntry
from domain.shared.aggregate import Aggregate, event_data
from domain.shared.errors import DomainError
from domain.shared.money import CURRENCIES, minor_units
from tests.finance.ledger import account, blank, books, calendar, drafted, mapped, policy, posted, replayed

currencies = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])
texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
codes = st.sampled_from(["1122", "6001"])

BALANCED = st.just(0)


@st.composite
def contents(draw: st.DrawFn, differences: st.SearchStrategy[int] = BALANCED) -> EntryContent:
    """An entry whose debits exceed its credits by one of the differences, in minor units."""
    currency = draw(currencies)
    unit = Decimal(1).scaleb(-minor_units(currency))
    debits = draw(st.lists(st.integers(1, 10**12), min_size=1, max_size=5))
    owed = sum(debits) - draw(differences)
    credits_: list[int] = []
    while owed > 1 and len(credits_) < 4:
        credits_.append(draw(st.integers(1, owed)))
        owed -= credits_[-1]
    if owed > 0 or not credits_:
        credits_.append(owed)
    line = st.builds(
        JournalLine,
        account=codes,
        memo=texts,
        dimensions=st.dictionaries(texts, texts, max_size=2),
        party=st.none() | texts,
    )
    lines = [replace(draw(line), debit=count * unit) for count in debits]
    lines += [replace(draw(line), credit=count * unit) for count in credits_]
    day = date(2026, 1, 1) + timedelta(days=draw(st.integers(0, 364)))
    order = draw(st.permutations(lines))
    return EntryContent("general", day, currency, draw(texts), draw(texts), tuple(order))


def balance(content: EntryContent | None) -> Decimal:
    assert content is not None
    return sum((line.debit or Decimal(0)) - (line.credit or Decimal(0)) for line in content.lines) + Decimal(
        0
    )


@given(contents())
def test_what_is_posted_is_balanced_to_the_minor_unit(said: EntryContent):
    entry = posted(books(), said)
    assert entry.content is not None
    assert balance(entry.content) == 0
    for line in entry.content.lines:
        amount = line.debit if line.debit is not None else line.credit
        assert amount is not None
        assert amount > 0
        assert -amount.as_tuple().exponent == minor_units(said.currency)  # type: ignore[operator]


@given(contents(st.integers(-(10**6), 10**6).filter(bool)))
def test_what_is_not_balanced_is_refused(said: EntryContent):
    entry = blank(JournalEntry)
    with pytest.raises(DomainError) as refusal:
        entry.post(said, books(), by="alice")
    assert refusal.value.code in {"finance.entry_unbalanced", "finance.amount_not_positive"}
    with pytest.raises(DomainError):
        entry.draft(said, by="alice")
    assert entry.version == 0
    assert not entry.pending_events


@given(contents(), st.integers(0, 364))
def test_an_entry_and_its_reversal_cancel_out(said: EntryContent, days: int):
    ledger = books()
    entry, reversal = posted(ledger, said), blank(JournalEntry)
    day = said.posting_date + timedelta(days=days)
    try:
        entry.reverse(reversal, day, "wrong", ledger, by="bob")
    except DomainError as refusal:
        assert refusal.code == "finance.no_period"  # noqa: PT017 - both outcomes are fine
        return
    assert entry.content is not None
    assert reversal.content is not None
    for code in ("1122", "6001"):
        both = [line for line in (*entry.content.lines, *reversal.content.lines) if line.account == code]
        assert balance(replace(said, lines=tuple(both))) == 0


def lives() -> list[Aggregate]:
    """One of each kind, with every event in its life."""
    chart, closed_books = account("11", currencies=("EUR", "JPY")), calendar(2026)
    account("111", parent_code="11", parent=chart)
    chart.close("11")
    closed_books.close_period("2026-01")
    closed_books.close_period("2026-02")
    closed_books.reopen_period("2026-02")
    closed_books.lock_period("2026-01")
    discarded, approved = drafted(), drafted()
    discarded.discard()
    approved.post_draft(books(), by="bob")
    reversal = blank(JournalEntry)
    approved.reverse(reversal, date(2026, 3, 1), "wrong", books(), by="bob")
    return [chart, closed_books, policy("1000"), mapped({"north": "1000"}), discarded, approved, reversal]


def test_every_event_type_is_in_those_lives():
    seen = {happened.TOPIC for live in lives() for happened in live.pending_events}  # type: ignore[attr-defined]
    known = {
        event.TOPIC
        for kind in (Account, AccountMapping, ApprovalPolicy, FiscalCalendar, JournalEntry)
        for event in kind.event_types()
    }
    assert seen == known


@pytest.mark.parametrize("index", range(7))
def test_replay_equals_live(index: int):
    live = lives()[index]
    assert replayed(live) == live
    assert live.version > 0


@given(contents())
def test_replay_equals_live_for_any_entry(said: EntryContent):
    live = posted(books(), said)
    assert replayed(live) == live


def as_json(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)


def through_json(happened: Any) -> Any:
    """The event as the log gives it back."""
    header = {
        "originator_id": happened.originator_id,
        "originator_version": happened.originator_version,
        "timestamp": happened.timestamp,
    }
    data = orjson.loads(as_json(event_data(happened)))
    return TypeAdapter(type(happened)).validate_python({**data, **header})


@pytest.mark.parametrize("index", range(7))
def test_events_survive_the_log(index: int):
    for happened in lives()[index].pending_events:
        assert through_json(happened) == happened


@given(contents())
def test_entries_survive_the_log_to_the_last_zero(said: EntryContent):
    (happened,) = posted(books(), said).pending_events
    read_back = through_json(happened)
    assert read_back == happened
    assert as_json(event_data(read_back)) == as_json(event_data(happened))  # type: ignore[arg-type]


def test_the_log_has_plain_decimals_and_dates():
    (happened,) = posted(books()).pending_events
    data = orjson.loads(as_json(event_data(happened)))  # type: ignore[arg-type]
    assert data["posting_date"] == "2026-02-03"
    assert data["lines"][0] == {
        "account": "1122",
        "debit": "100.00",
        "credit": None,
        "memo": "",
        "dimensions": {},
        "party": None,
    }


def test_the_names_in_the_log_are_frozen():
    names = {
        kind.TOPIC: sorted(event.TOPIC for event in kind.event_types())
        for kind in (Account, AccountMapping, ApprovalPolicy, FiscalCalendar, JournalEntry)
    }
    assert names == {
        "finance.account": [
            "finance.account.child_opened",
            "finance.account.closed",
            "finance.account.opened",
        ],
        "finance.account_mapping": ["finance.account_mapping.set"],
        "finance.approval_policy": ["finance.approval_policy.set"],
        "finance.fiscal_calendar": [
            "finance.fiscal_calendar.period_closed",
            "finance.fiscal_calendar.period_locked",
            "finance.fiscal_calendar.period_reopened",
            "finance.fiscal_calendar.year_opened",
        ],
        "finance.journal_entry": [
            "finance.journal_entry.discarded",
            "finance.journal_entry.drafted",
            "finance.journal_entry.posted",
            "finance.journal_entry.reversed",
        ],
    }


@pytest.mark.parametrize("currency", sorted(CURRENCIES))
def test_every_currency_can_be_booked(currency: str):
    unit = Decimal(1).scaleb(-minor_units(currency))
    lines = (JournalLine("1122", debit=unit), JournalLine("6001", credit=unit))
    entry = posted(books(), EntryContent("general", date(2026, 1, 1), currency, "", "", lines))
    assert entry.content is not None
    assert entry.content.total == unit
