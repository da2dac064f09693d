"""The rules of the chart of accounts."""

from uuid import UUID

import pytest

from domain.finance.account import Account, AccountType, account_id
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from tests.finance.ledger import account, blank


def test_an_account_opens_into_the_register():
    opened = account("1122", currencies=("EUR", "USD"))
    (event,) = opened.pending_events
    assert isinstance(event, Account.Opened)
    assert (event.series, event.number, event.code) == ("finance.account", None, "1122")
    assert (opened.code, opened.currencies, opened.has_children, opened.closed) == (
        "1122",
        ("EUR", "USD"),
        False,
        False,
    )


def test_a_code_is_taken_once_even_after_closing():
    opened = account("1122")
    opened.close("1122")
    with pytest.raises(DomainError) as refusal:
        opened.open(code="1122", name="Again", type=AccountType.ASSET)
    assert refusal.value.code == "finance.account_exists"


def test_a_parent_takes_no_postings():
    parent = account("11")
    parent.require_postable("EUR")
    account("1122", parent_code="11", parent=parent)
    with pytest.raises(DomainError) as refusal:
        parent.require_postable("EUR")
    assert refusal.value.code == "finance.account_not_leaf"


@pytest.mark.parametrize("parent", [None, blank(Account)])
def test_the_parent_has_to_exist(parent: Account | None):
    with pytest.raises(DomainError) as refusal:
        account("1122", parent_code="11", parent=parent)
    assert refusal.value.code == "finance.account_unknown"
    assert refusal.value.data == {"account": "11"}


def test_a_child_is_of_its_parents_type():
    with pytest.raises(DomainError) as refusal:
        account("1122", type=AccountType.EXPENSE, parent_code="11", parent=account("11"))
    assert refusal.value.code == "finance.parent_type_differs"
    assert refusal.value.data == {"account": "11", "type": "expense", "parent_type": "asset"}


def test_a_closed_account_takes_neither_postings_nor_children_and_closes_once():
    closed = account("11")
    closed.close("11")
    for attempt in (
        lambda: closed.require_postable("EUR"),
        lambda: account("1122", parent_code="11", parent=closed),
        lambda: closed.close("11"),
    ):
        with pytest.raises(DomainError) as refusal:
            attempt()
        assert refusal.value.code == "finance.account_closed"


def test_what_is_not_there_does_not_close():
    with pytest.raises(DomainError) as refusal:
        blank(Account).close("1122")
    assert refusal.value.code == "finance.account_not_found"


def test_an_account_may_be_kept_in_some_currencies_only():
    opened = account("1122", currencies=("EUR", "USD"))
    opened.require_postable("USD")
    with pytest.raises(DomainError) as refusal:
        opened.require_postable("JPY")
    assert refusal.value.code == "finance.currency_not_allowed"
    assert refusal.value.data == {"account": "1122", "currency": "JPY", "allowed": ["EUR", "USD"]}


def test_the_stream_is_found_by_tenant_and_code():
    tenant = UUID(int=1)
    assert account_id(tenant, "1122") == natural_id(tenant, "finance.account", "1122")
    assert account_id(tenant, "1122") != account_id(UUID(int=2), "1122")
