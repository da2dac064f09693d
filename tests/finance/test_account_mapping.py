"""Which accounts stock, sales and payments are booked on."""

from uuid import UUID

import pytest

from domain.finance.account_mapping import AccountMapping, account_mapping_id
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from tests.finance.ledger import ROLES, account, blank, mapped


def test_a_warehouse_may_have_an_account_of_its_own():
    mapping = mapped({"north": "1408"}, account("1408"))
    assert mapping.require_set() == ROLES
    assert mapping.inventory_account("north") == "1408"
    assert mapping.inventory_account("south") == ROLES.inventory


def test_before_it_is_set_there_is_nothing_to_go_by():
    for ask in (AccountMapping.require_set, lambda mapping: mapping.inventory_account("north")):
        with pytest.raises(DomainError) as refusal:
            ask(blank(AccountMapping))
        assert refusal.value.code == "finance.account_mapping_not_set"


def test_every_account_has_to_be_an_open_leaf():
    closed, parent = account("1003"), account("1004")
    closed.close("1003")
    account("1004.1", parent_code="1004", parent=parent)
    for wrong, code in (
        (blank(type(closed)), "finance.account_unknown"),
        (closed, "finance.account_closed"),
        (parent, "finance.account_not_leaf"),
    ):
        wrong.code = wrong.code or "1005"
        with pytest.raises(DomainError) as refusal:
            mapped({}, wrong)
        assert refusal.value.code == code
        assert refusal.value.data == {"account": wrong.code}


def test_so_does_that_of_a_warehouse():
    with pytest.raises(DomainError) as refusal:
        mapped({"north": "9999"})
    assert refusal.value.code == "finance.account_unknown"


def test_there_is_one_mapping_a_tenant():
    tenant = UUID(int=1)
    assert account_mapping_id(tenant) == natural_id(tenant, "finance.account_mapping")
