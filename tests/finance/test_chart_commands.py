"""The chart of accounts through bus and store."""

import pytest

from commands.finance import CloseAccount, OpenAccount
from domain.finance.account import Account, AccountType, account_id
from tests.dsl import Company, happened
from tests.finance.history import CASH, RECEIVABLE, SALES

pytestmark = pytest.mark.integration


async def test_an_account_opens(company: Company):
    answer = await company.when(RECEIVABLE).then(
        happened(
            Account.Opened,
            series="finance.account",
            code="1122",
            name="Accounts receivable",
            type=AccountType.ASSET,
            parent=None,
            currencies=None,
        )
    )
    assert answer.id == account_id(company.tenant, "1122")
    assert answer.version == 1


async def test_a_child_is_written_to_its_parent_too(company: Company):
    child = OpenAccount(
        code="1122.1", name="Domestic", type=AccountType.ASSET, parent="1122", currencies=("EUR",)
    )
    answer = (
        await company.given(RECEIVABLE)
        .when(child)
        .then(
            happened(Account.Opened, code="1122.1", parent="1122", currencies=("EUR",)),
            happened(Account.ChildOpened, child="1122.1"),
        )
    )
    assert answer.id == account_id(company.tenant, "1122.1")
    parent = await company.load(Account, account_id(company.tenant, "1122"))
    assert parent.has_children


async def test_a_code_is_taken_once(company: Company):
    await company.given(RECEIVABLE).when(RECEIVABLE).refused("finance.account_exists")


@pytest.mark.parametrize("parent", ["9999", "1122.1"])
async def test_the_parent_has_to_be_there_already(company: Company, parent: str):
    child = OpenAccount(code="1122.1", name="Domestic", type=AccountType.ASSET, parent=parent)
    await company.when(child).refused("finance.account_unknown")


async def test_opening_twice_under_one_key_opens_once(company: Company):
    await company.when(RECEIVABLE).repeated()


async def test_opening_takes_the_permission(company: Company):
    await company.when(RECEIVABLE, permissions=["finance.accounts:read"]).refused("permission_denied")


async def test_an_account_closes(company: Company):
    answer = await company.given(CASH).when(CloseAccount(code="1000")).then(happened(Account.Closed))
    assert answer.version == 2
    assert (await company.load(Account, answer.id)).closed


async def test_an_unknown_account_does_not_close(company: Company):
    await company.given(SALES).when(CloseAccount(code="1000")).refused("finance.account_not_found")


async def test_a_closed_account_does_not_close_again(company: Company):
    close = CloseAccount(code="1000")
    await company.given(CASH, close).when(close).refused("finance.account_closed")


async def test_closing_twice_under_one_key_closes_once(company: Company):
    await company.given(CASH).when(CloseAccount(code="1000", reason="merged")).repeated()


async def test_if_match_names_the_version(company: Company):
    close = CloseAccount(code="1000")
    await company.given(CASH).when(close, expected_version=7).refused("version_mismatch")
