"""The rules of journal entries."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from domain.finance.double_entry import EntryContent
from domain.finance.journal_entry import EntryStatus, JournalEntry
from domain.shared.errors import DomainError
from tests.finance.ledger import DAY, account, blank, books, content, drafted, line, posted

REVERSAL_DAY = date(2026, 2, 28)


def refused(attempt: Callable[[], object]) -> DomainError:
    with pytest.raises(DomainError) as refusal:
        attempt()
    return refusal.value


def number(entry: JournalEntry, given: int) -> JournalEntry:
    """As the store hands it out: with the number it assigned."""
    twin = JournalEntry.blank(entry.id)
    for happened in entry.pending_events:
        numbered = isinstance(happened, JournalEntry.Posted)
        (replace(happened, number=given) if numbered else happened).mutate(twin)  # type: ignore[type-var]
    return twin


def test_a_blank_entry_says_nothing():
    entry = blank(JournalEntry)
    assert (entry.status, entry.content, entry.document_no) == (EntryStatus.BLANK, None, None)


def test_posting_at_once_is_one_complete_event():
    entry = posted(books())
    (event,) = entry.pending_events
    assert isinstance(event, JournalEntry.Posted)
    assert (event.series, event.number, event.drafted_by, event.reverses) == (
        "general/2026",
        None,
        "alice",
        None,
    )
    assert (event.journal, event.posting_date, event.currency, event.memo, event.reference) == (
        "general",
        DAY,
        "EUR",
        "Rent",
        "R-1",
    )
    assert [str(kept.debit or kept.credit) for kept in event.lines] == ["100.00", "100.00"]


def test_the_number_makes_the_document_no():
    entry = number(posted(books()), 123)
    assert entry.document_no == "general/2026/000123"
    assert number(posted(books()), 1_234_567).document_no == "general/2026/1234567"


def test_the_series_is_of_the_fiscal_year_not_of_the_calendar():
    ledger = books()
    ledger.calendar.open_year(2028, date(2027, 7, 1))
    entry = posted(ledger, content(day=date(2027, 7, 1)))
    assert entry.series == "general/2028"


def test_the_total_is_of_one_side():
    said = content(line("1122", debit="70"), line("1122", debit="30.5"), line("6001", credit="100.50"))
    assert posted(books(), said).content == said.as_double_entry()
    assert said.total == Decimal("100.5")


@pytest.mark.parametrize(
    ("said", "code", "data"),
    [
        (replace(content(), lines=()), "finance.too_few_lines", {"lines": 0}),
        (content(line("1122", debit="1")), "finance.too_few_lines", {"lines": 1}),
        (
            content(line("1122", debit="1"), line("6001")),
            "finance.line_not_one_sided",
            {"entry_line": 2, "account": "6001"},
        ),
        (
            content(line("1122", "1", "1"), line("6001", credit="1")),
            "finance.line_not_one_sided",
            {"entry_line": 1, "account": "1122"},
        ),
        (
            content(line("1122", debit="1"), line("6001", credit="0")),
            "finance.amount_not_positive",
            {"entry_line": 2, "account": "6001", "amount": "0.00"},
        ),
        (
            content(line("1122", debit="-1"), line("6001", credit="-1")),
            "finance.amount_not_positive",
            {"entry_line": 1, "account": "1122", "amount": "-1.00"},
        ),
        (
            content(line("1122", debit="1"), line("6001", credit="1.01")),
            "finance.entry_unbalanced",
            {"differences": {"EUR": "-0.01"}},
        ),
        (
            content(line("1122", debit="1.001"), line("6001", credit="1.001")),
            "money.too_many_decimals",
            {"amount": "1.001", "currency": "EUR", "minor_units": 2},
        ),
        (content(currency="XXX"), "money.unknown_currency", {"currency": "XXX"}),
    ],
)
def test_what_is_no_double_entry_is_neither_drafted_nor_posted(
    said: EntryContent, code: str, data: dict[str, object]
):
    for attempt in (lambda: drafted(said), lambda: posted(books(), said)):
        refusal = refused(attempt)
        assert (refusal.code, refusal.data) == (code, data)


def test_all_accounts_have_to_take_the_posting():
    parent, closed, dollars = account("11"), account("12"), account("13", currencies=("USD",))
    account("111", parent_code="11", parent=parent)
    closed.close("12")
    ledger = books(parent, closed, dollars)
    for code, rule in {
        "11": "finance.account_not_leaf",
        "12": "finance.account_closed",
        "13": "finance.currency_not_allowed",
        "14": "finance.account_unknown",
    }.items():
        said = content(line("1122", debit="1"), line(code, credit="1"))
        with pytest.raises(DomainError) as refusal:
            posted(ledger, said)
        assert (refusal.value.code, refusal.value.data["account"]) == (rule, code)


def test_the_posting_date_has_to_lie_in_an_open_period():
    ledger = books()
    ledger.calendar.close_period("2026-01")
    assert refused(lambda: posted(ledger, content(day=date(2026, 1, 31)))).code == "finance.period_closed"
    assert refused(lambda: posted(ledger, content(day=date(2025, 1, 31)))).code == "finance.no_period"


def test_above_the_threshold_nobody_posts_at_once():
    assert refused(lambda: posted(books(threshold="99.99"))).code == "finance.approval_required"
    posted(books(threshold="100"))


def test_above_the_threshold_another_posts_the_draft():
    entry = drafted(by="alice")
    ledger = books(threshold="99.99")
    assert refused(lambda: entry.post_draft(ledger, by="alice")).code == "finance.approval_required"
    entry.post_draft(ledger, by="bob")
    assert (entry.status, entry.drafted_by, entry.version) == (EntryStatus.POSTED, "alice", 2)


def test_a_draft_waits_for_the_books():
    entry = drafted(content(day=date(1999, 1, 1)))
    assert (entry.status, entry.series, entry.document_no) == (EntryStatus.DRAFT, None, None)
    assert refused(lambda: entry.post_draft(books(), by="bob")).code == "finance.no_period"


def steps(entry: JournalEntry) -> dict[str, Callable[[], None]]:
    return {
        "post": lambda: entry.post_draft(books(), by="bob"),
        "discard": entry.discard,
        "reverse": lambda: entry.reverse(blank(JournalEntry), REVERSAL_DAY, "wrong", books(), by="bob"),
    }


@pytest.mark.parametrize("step", ["post", "discard", "reverse"])
def test_what_was_never_written(step: str):
    assert refused(steps(blank(JournalEntry))[step]).code == "finance.entry_not_found"


@pytest.mark.parametrize("step", ["post", "discard", "reverse"])
def test_what_was_discarded(step: str):
    entry = drafted()
    entry.discard()
    assert entry.status is EntryStatus.DISCARDED
    assert refused(steps(entry)[step]).code == "finance.entry_discarded"


@pytest.mark.parametrize("step", ["post", "discard"])
def test_what_was_posted_is_a_draft_no_more(step: str):
    entry = number(posted(books()), 7)
    refusal = refused(steps(entry)[step])
    assert refusal.code == "finance.entry_already_posted"
    assert refusal.data == {"id": str(entry.id), "document_no": "general/2026/000007"}


def test_a_draft_is_not_reversed():
    assert refused(steps(drafted())["reverse"]).code == "finance.entry_not_posted"


def test_a_reversal_swaps_the_sides_and_is_linked_both_ways():
    entry, reversal = posted(books(), by="alice"), blank(JournalEntry)
    entry.reverse(reversal, REVERSAL_DAY, "wrong customer", books(), by="bob")
    assert (entry.status, entry.reversed_by) == (EntryStatus.REVERSED, reversal.id)
    assert (reversal.status, reversal.reverses, reversal.drafted_by) == (EntryStatus.POSTED, entry.id, "bob")
    assert entry.content is not None
    assert reversal.content == replace(
        entry.content,
        posting_date=REVERSAL_DAY,
        memo="wrong customer",
        lines=tuple(kept.swapped() for kept in entry.content.lines),
    )
    assert [(kept.debit, kept.credit) for kept in reversal.content.lines] == [
        (None, Decimal("100.00")),
        (Decimal("100.00"), None),
    ]


def test_an_entry_is_reversed_once_but_its_reversal_may_be_too():
    entry, reversal = posted(books()), blank(JournalEntry)
    entry.reverse(reversal, REVERSAL_DAY, "wrong", books(), by="bob")
    refusal = refused(steps(entry)["reverse"])
    assert refusal.code == "finance.entry_already_reversed"
    assert refusal.data == {"id": str(entry.id), "reversed_by": str(reversal.id)}
    again = blank(JournalEntry)
    reversal.reverse(again, REVERSAL_DAY, "right after all", books(), by="bob")
    assert again.content is not None
    assert entry.content is not None
    assert again.content.lines == entry.content.lines


def test_a_reversal_is_not_before_the_original():
    entry = posted(books())
    refusal = refused(
        lambda: entry.reverse(blank(JournalEntry), date(2026, 2, 2), "wrong", books(), by="bob")
    )
    assert refusal.code == "finance.reversal_before_original"
    assert refusal.data == {"posting_date": "2026-02-02", "original_posting_date": "2026-02-03"}
    entry.reverse(blank(JournalEntry), DAY, "wrong", books(), by="bob")


def test_a_reversal_is_judged_by_the_books_like_any_posting():
    entry, ledger = posted(books()), books()
    ledger.accounts["6001"].close("6001")
    reversal = blank(JournalEntry)
    assert (
        refused(lambda: entry.reverse(reversal, DAY, "wrong", ledger, by="bob")).code
        == "finance.account_closed"
    )
    assert (entry.status, reversal.status) == (EntryStatus.POSTED, EntryStatus.BLANK)


def test_above_the_threshold_another_than_the_preparer_reverses():
    entry, ledger = posted(books(), by="alice"), books(threshold="99.99")
    reversal = blank(JournalEntry)
    assert (
        refused(lambda: entry.reverse(reversal, DAY, "wrong", ledger, by="alice")).code
        == "finance.approval_required"
    )
    entry.reverse(reversal, DAY, "wrong", ledger, by="bob")
