"""Journal entries and the approval policy through bus and store."""

import asyncio
from datetime import date
from decimal import Decimal
from uuid import uuid4

import pytest

from commands.bus import Answer, Command
from commands.errors import CommandError
from commands.finance import (
    CloseAccount,
    ClosePeriod,
    DiscardDraft,
    OpenFiscalYear,
    PostDraft,
    ReverseJournalEntry,
    SetApprovalPolicy,
)
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.double_entry import JournalLine
from domain.finance.journal_entry import EntryStatus, JournalEntry
from domain.shared.errors import DomainError
from tests.dsl import ALICE, BOB, Company, happened
from tests.finance.history import BOOKS, POLICY, draft, invoice, lines

pytestmark = pytest.mark.integration

LINES = (
    JournalLine("1122", debit=Decimal("1130.00"), dimensions={"cost_centre": "4711"}, party="c-1"),
    JournalLine("6001", credit=Decimal("1130.00")),
)


def reverse(last: Answer) -> Command:
    return ReverseJournalEntry(id=last.id, posting_date=date(2026, 2, 28), reason="wrong customer")


def post(last: Answer) -> Command:
    return PostDraft(id=last.id)


def discard(last: Answer) -> Command:
    return DiscardDraft(id=last.id)


async def test_an_entry_is_posted(company: Company):
    answer = (
        await company.given(*BOOKS)
        .when(invoice())
        .then(
            happened(
                JournalEntry.Posted,
                series="general/2026",
                journal="general",
                posting_date=date(2026, 2, 3),
                currency="EUR",
                memo="Invoice 1",
                reference="INV-1",
                lines=LINES,
                reverses=None,
                drafted_by=ALICE,
            )
        )
    )
    entry = await company.load(JournalEntry, answer.id)
    assert (entry.version, entry.status, entry.document_no) == (1, EntryStatus.POSTED, "general/2026/000001")
    assert entry.content is not None
    assert entry.content.lines == LINES


async def test_numbers_are_gapless_by_journal_and_fiscal_year(company: Company):
    year_2027 = OpenFiscalYear(year=2027, start=date(2027, 1, 1))
    for step in (*BOOKS, year_2027):
        await company.execute(step)
    with pytest.raises(DomainError):
        await company.execute(invoice(lines=lines(("1122", "debit", "1"), ("9999", "credit", "1"))))
    posted = [invoice(), invoice(day="2027-01-01"), invoice(), invoice(journal="sales")]
    entries = [await company.load(JournalEntry, (await company.execute(step)).id) for step in posted]
    assert [entry.document_no for entry in entries] == [
        "general/2026/000001",
        "general/2027/000001",
        "general/2026/000002",
        "sales/2026/000001",
    ]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (invoice(lines=[]), "finance.too_few_lines"),
        (invoice(lines=lines(("1122", "debit", "2"), ("6001", "credit", "1"))), "finance.entry_unbalanced"),
        (invoice(lines=lines(("1122", "debit", "1"), ("9999", "credit", "1"))), "finance.account_unknown"),
        (invoice("0"), "finance.amount_not_positive"),
        (invoice("-5.00"), "finance.amount_not_positive"),
        (invoice(day="2025-12-31"), "finance.no_period"),
        (invoice(day="2026-01-31"), "finance.period_closed"),
    ],
)
async def test_an_entry_that_breaks_a_rule(company: Company, entry, code: str):
    await company.given(*BOOKS, ClosePeriod(period="2026-01")).when(entry).refused(code)


async def test_posting_twice_under_one_key_posts_once(company: Company):
    await company.given(*BOOKS).when(invoice()).repeated()


async def test_drafting_takes_less_than_posting(company: Company):
    clerk = ["finance.journal_entries:write"]
    await company.given(*BOOKS).when(invoice(), permissions=clerk).refused("permission_denied")
    await company.when(draft(), permissions=clerk).then(happened(JournalEntry.Drafted, drafted_by=ALICE))


async def test_a_draft_needs_no_books_yet(company: Company):
    answer = await company.when(draft()).then(
        happened(JournalEntry.Drafted, journal="general", lines=LINES, drafted_by=ALICE)
    )
    entry = await company.load(JournalEntry, answer.id)
    assert (entry.status, entry.document_no) == (EntryStatus.DRAFT, None)


async def test_a_draft_has_to_balance(company: Company):
    unbalanced = draft(lines=lines(("1122", "debit", "2"), ("6001", "credit", "1.5")))
    refusal = await company.when(unbalanced).refused("finance.entry_unbalanced")
    assert refusal.data == {"differences": {"EUR": "0.50"}}


async def test_drafting_twice_under_one_key_drafts_once(company: Company):
    await company.when(draft()).repeated()


async def test_a_draft_is_posted_by_another(company: Company):
    answer = (
        await company.given(*BOOKS, draft())
        .when(post, by=BOB)
        .then(happened(JournalEntry.Posted, series="general/2026", lines=LINES, drafted_by=ALICE))
    )
    assert answer.version == 2


async def test_a_draft_is_judged_by_the_books_of_its_posting(company: Company):
    await (
        company.given(*BOOKS, CloseAccount(code="6001"), draft()).when(post).refused("finance.account_closed")
    )


async def test_a_draft_is_posted_once(company: Company):
    entry = await company.given(*BOOKS, draft()).when(post).then(happened(JournalEntry.Posted))
    refusal = await company.when(PostDraft(id=entry.id)).refused("finance.entry_already_posted")
    assert refusal.data["document_no"] == "general/2026/000001"


async def test_posting_a_draft_twice_under_one_key_posts_once(company: Company):
    await company.given(*BOOKS, draft()).when(post).repeated()


@pytest.mark.parametrize("command", [PostDraft(id=uuid4()), DiscardDraft(id=uuid4())])
async def test_an_entry_that_is_not_there(company: Company, command):
    await company.when(command).refused("finance.entry_not_found")


async def test_a_draft_is_discarded(company: Company):
    answer = await company.given(draft()).when(discard).then(happened(JournalEntry.Discarded))
    for command in (post(answer), discard(answer), reverse(answer)):
        await company.when(command).refused("finance.entry_discarded")


async def test_a_posted_entry_is_not_discarded(company: Company):
    await company.given(*BOOKS, invoice()).when(discard).refused("finance.entry_already_posted")


async def test_discarding_twice_under_one_key_discards_once(company: Company):
    await company.given(draft()).when(discard).repeated()


async def test_a_reversal_is_a_new_entry_that_takes_the_first_back(company: Company):
    original = await company.given(*BOOKS).when(invoice()).then(happened(JournalEntry.Posted))
    answer = await company.when(reverse(original), by=BOB).then(
        happened(JournalEntry.Reversed, reason="wrong customer"),
        happened(
            JournalEntry.Posted,
            series="general/2026",
            posting_date=date(2026, 2, 28),
            memo="wrong customer",
            reference="INV-1",
            lines=tuple(line.swapped() for line in LINES),
            reverses=original.id,
            drafted_by=BOB,
        ),
    )
    reversed_entry = await company.load(JournalEntry, original.id)
    assert answer.id != original.id
    assert (reversed_entry.status, reversed_entry.reversed_by) == (EntryStatus.REVERSED, answer.id)
    assert (await company.load(JournalEntry, answer.id)).document_no == "general/2026/000002"


async def test_an_entry_is_reversed_once(company: Company):
    original = await company.given(*BOOKS).when(invoice()).then(happened(JournalEntry.Posted))
    await company.execute(reverse(original))
    company.store.recorded.clear()
    await company.when(reverse(original)).refused("finance.entry_already_reversed")


async def test_reversing_twice_under_one_key_reverses_once(company: Company):
    await company.given(*BOOKS, invoice()).when(reverse).repeated()


async def test_two_reversals_at_once(company: Company):
    original = await company.given(*BOOKS).when(invoice()).then(happened(JournalEntry.Posted))
    results = await asyncio.gather(
        *(company.execute(reverse(original)) for _ in range(5)), return_exceptions=True
    )
    refusals = [result for result in results if isinstance(result, DomainError | CommandError)]
    assert {refusal.code for refusal in refusals} == {"finance.entry_already_reversed"}
    assert len(refusals) == 4


@pytest.mark.parametrize(
    ("day", "code"),
    [
        (date(2026, 2, 2), "finance.reversal_before_original"),
        (date(2027, 1, 1), "finance.no_period"),
    ],
)
async def test_a_reversal_dated_wrongly(company: Company, day: date, code: str):
    await (
        company.given(*BOOKS, invoice())
        .when(lambda last: ReverseJournalEntry(id=last.id, posting_date=day, reason="wrong"))
        .refused(code)
    )


async def test_the_approval_policy_is_set(company: Company):
    answer = await company.when(POLICY).then(
        happened(ApprovalPolicy.Set, currency="EUR", threshold=Decimal("1000.00"))
    )
    assert (await company.load(ApprovalPolicy, answer.id)).threshold == Decimal("1000.00")


async def test_a_threshold_below_zero(company: Company):
    await company.when(SetApprovalPolicy(currency="EUR", threshold="-1")).refused(
        "finance.threshold_negative"
    )


async def test_setting_the_policy_twice_under_one_key_sets_it_once(company: Company):
    await company.when(POLICY).repeated()


async def test_above_the_threshold_the_preparer_does_not_post(company: Company):
    await company.given(*BOOKS, POLICY).when(invoice("1000.01")).refused("finance.approval_required")
    drafted = await company.when(draft("1000.01")).then(happened(JournalEntry.Drafted))
    company.store.recorded.clear()
    await company.when(PostDraft(id=drafted.id), by=ALICE).refused("finance.approval_required")
    await company.when(PostDraft(id=drafted.id), by=BOB).then(happened(JournalEntry.Posted))


async def test_above_the_threshold_the_preparer_does_not_reverse(company: Company):
    drafted = await company.given(*BOOKS, POLICY).when(draft("1000.01")).then(happened(JournalEntry.Drafted))
    await company.execute(PostDraft(id=drafted.id), by=BOB)
    company.store.recorded.clear()
    await company.when(reverse(drafted), by=ALICE).refused("finance.approval_required")
    await company.when(reverse(drafted), by=BOB).then(
        happened(JournalEntry.Reversed), happened(JournalEntry.Posted)
    )


async def test_a_period_does_not_close_underneath_a_posting(company: Company):
    for step in (*BOOKS, ClosePeriod(period="2026-01")):
        await company.execute(step)
    results = await asyncio.gather(
        *(company.execute(invoice()) for _ in range(5)),
        company.execute(ClosePeriod(period="2026-02")),
        *(company.execute(invoice()) for _ in range(5)),
        return_exceptions=True,
    )
    answers = [result for result in results if isinstance(result, Answer)]
    refusals = [result for result in results if isinstance(result, DomainError)]
    assert len(answers) + len(refusals) == 11
    assert {refusal.code for refusal in refusals} <= {"finance.period_closed"}
    closed_at = results[5]
    assert isinstance(closed_at, Answer)
    assert all(answer.position <= closed_at.position for answer in answers)


async def test_numbers_have_no_gap_however_many_post_at_once(company: Company):
    for step in BOOKS:
        await company.execute(step)
    good, bad = invoice(), invoice(day="2031-01-01")
    results = await asyncio.gather(
        *(company.execute(step) for step in [good, bad] * 20), return_exceptions=True
    )
    ids = [result.id for result in results if isinstance(result, Answer)]
    numbers = [(await company.load(JournalEntry, stream_id)).number for stream_id in ids]
    assert sorted(number for number in numbers if number) == list(range(1, 21))
