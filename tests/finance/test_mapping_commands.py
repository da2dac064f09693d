"""The account mapping and the vouchers that go by it, through bus and store."""

from dataclasses import astuple
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from commands.finance import (
    Accounts,
    CloseAccount,
    ClosePeriod,
    OpenAccount,
    OpenFiscalYear,
    PostVoucher,
    SetAccountMapping,
)
from domain.finance.account import AccountType
from domain.finance.account_mapping import AccountMapping, account_mapping_id
from domain.finance.journal_entry import EntryStatus, JournalEntry
from tests.dsl import ALICE, Company, happened
from tests.finance.history import POLICY
from tests.finance.ledger import ROLES

pytestmark = pytest.mark.integration

CHART = tuple(OpenAccount(code=code, name=code, type=AccountType.ASSET) for code in astuple(ROLES))
ACCOUNTS = Accounts(**{name: getattr(ROLES, name) for name in Accounts.model_fields})
MAPPING = SetAccountMapping(accounts=ACCOUNTS, warehouses={"north": "1008"})


MAPPED = (*CHART, MAPPING, OpenFiscalYear(year=2026, start=date(2026, 1, 1)))


def voucher(amount: str = "1130.00", **changes: Any) -> PostVoucher:
    """Receivable to sales."""
    said = {"posting_date": "2026-03-14", "currency": "EUR", "reference": "main/7"}
    parts = [{"part": "receivable", "debit": amount, "party": "C1"}, {"part": "revenue", "credit": amount}]
    return PostVoucher.model_validate({**said, "lines": parts, **changes})


def transfer(to: str) -> PostVoucher:
    """From the main warehouse to another."""
    return voucher(
        lines=[
            {"part": "inventory", "warehouse": to, "debit": "5.00"},
            {"part": "inventory", "warehouse": "main", "credit": "5.00"},
        ]
    )


async def test_the_mapping_is_set(company: Company):
    answer = (
        await company.given(*CHART)
        .when(MAPPING)
        .then(happened(AccountMapping.Set, accounts=ROLES, warehouses={"north": "1008"}))
    )
    assert answer.id == account_mapping_id(company.tenant)
    mapping = await company.load(AccountMapping, answer.id)
    assert mapping.inventory_account("north") == "1008"


async def test_the_mapping_is_set_anew(company: Company):
    again = SetAccountMapping(accounts=ACCOUNTS)
    answer = (
        await company.given(*CHART, MAPPING).when(again).then(happened(AccountMapping.Set, warehouses={}))
    )
    assert answer.version == 2


async def test_a_mapping_to_what_is_not_there(company: Company):
    await company.given(*CHART[1:]).when(MAPPING).refused("finance.account_unknown")


async def test_a_mapping_to_what_takes_no_postings(company: Company):
    child = OpenAccount(code="1003.1", name="Child", type=AccountType.ASSET, parent="1003")
    await company.given(*CHART, child).when(MAPPING).refused("finance.account_not_leaf")
    await company.given(CloseAccount(code="1000")).when(MAPPING).refused("finance.account_closed")


async def test_setting_twice_under_one_key_sets_once(company: Company):
    await company.given(*CHART).when(MAPPING).repeated()


async def test_setting_takes_the_permission(company: Company):
    may_read = ["finance.account_mapping:read"]
    await company.given(*CHART).when(MAPPING, permissions=may_read).refused("permission_denied")


def test_a_mapping_is_whole():
    for wrong in ({"cash": "1000"}, {**ACCOUNTS.model_dump(), "petty_cash": "1000"}):
        with pytest.raises(ValidationError):
            SetAccountMapping.model_validate({"accounts": wrong})


async def test_a_voucher_is_posted_past_the_approval_policy(company: Company):
    posted = happened(JournalEntry.Posted, reference="main/7", series="general/2026", drafted_by=ALICE)
    answer = await company.given(*MAPPED, POLICY).when(voucher("5000.00")).then(posted)
    entry = await company.load(JournalEntry, answer.id)
    assert (entry.status, entry.document_no) == (EntryStatus.POSTED, "general/2026/000001")
    assert [line.account for line in entry.require_written().lines] == [ROLES.receivable, ROLES.revenue]


async def test_a_voucher_between_warehouses(company: Company):
    answer = await company.given(*MAPPED).when(transfer("north")).then(happened(JournalEntry.Posted))
    entry = await company.load(JournalEntry, answer.id)
    assert [line.account for line in entry.require_written().lines] == ["1008", ROLES.inventory]


async def test_a_voucher_that_moves_nothing_is_not_posted(company: Company):
    for step in MAPPED:
        await company.execute(step)
    recorded = len(company.store.recorded)
    answer = await company.execute(transfer("south"))
    assert answer.id == account_mapping_id(company.tenant)
    assert len(company.store.recorded) == recorded


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (
            voucher(lines=[{"part": "cash", "debit": "2"}, {"part": "tax", "credit": "1"}]),
            "finance.entry_unbalanced",
        ),
        (voucher(posting_date="2026-01-31"), "finance.period_closed"),
    ],
)
async def test_a_voucher_keeps_every_other_rule(company: Company, wrong: PostVoucher, code: str):
    await company.given(*MAPPED, ClosePeriod(period="2026-01")).when(wrong).refused(code)


async def test_a_voucher_on_an_account_that_was_closed_since(company: Company):
    closed = CloseAccount(code=ROLES.revenue)
    await company.given(*MAPPED, closed).when(voucher()).refused("finance.account_closed")


async def test_a_voucher_without_a_mapping(company: Company):
    await company.when(voucher()).refused("finance.account_mapping_not_set")


async def test_posting_a_voucher_twice_under_one_key_posts_once(company: Company):
    await company.given(*MAPPED).when(voucher()).repeated()


async def test_who_posts_entries_posts_no_vouchers(company: Company):
    may_post = ["finance.journal_entries:post"]
    await company.given(*MAPPED).when(voucher(), permissions=may_post).refused("permission_denied")


def test_a_voucher_names_its_document_and_its_amounts_fit_the_currency():
    for wrong in ({"reference": ""}, {"post": False}, {"currency": "JPY"}, {"lines": [{"part": "fun"}]}):
        with pytest.raises(ValidationError):
            voucher(**wrong)
