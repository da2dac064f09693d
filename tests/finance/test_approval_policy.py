"""Four eyes above a threshold."""

from decimal import Decimal
from uuid import UUID

import pytest

from domain.finance.approval_policy import approval_policy_id
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from tests.finance.ledger import policy


def test_without_a_policy_one_user_is_enough():
    policy().require_approved(Decimal(10**15), prepared_by="alice", approved_by="alice")


@pytest.mark.parametrize(("amount", "approver"), [("1000.00", "alice"), ("1000.01", "bob")])
def test_up_to_the_threshold_or_by_another(amount: str, approver: str):
    policy("1000").require_approved(Decimal(amount), prepared_by="alice", approved_by=approver)


def test_above_the_threshold_it_takes_another():
    with pytest.raises(DomainError) as refusal:
        policy("1000").require_approved(Decimal("1000.01"), prepared_by="alice", approved_by="alice")
    assert refusal.value.code == "finance.approval_required"
    assert refusal.value.data == {
        "amount": "1000.01",
        "threshold": "1000.00",
        "currency": "EUR",
        "prepared_by": "alice",
    }


def test_a_threshold_is_not_below_zero():
    policy("0")
    with pytest.raises(DomainError) as refusal:
        policy("-0.01")
    assert refusal.value.code == "finance.threshold_negative"


def test_there_is_one_policy_a_currency():
    tenant = UUID(int=1)
    assert approval_policy_id(tenant, "EUR") == natural_id(tenant, "finance.approval_policy", "EUR")
