"""The arithmetic of layers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.inventory.valuation import (
    Valuation,
    cost,
    joined,
    numbered,
    plain,
    quantity_of,
    quantity_text,
    require_positive,
    share,
    surplus_value,
    taken,
    value_of,
    without,
)
from domain.shared.errors import DomainError
from tests.inventory.shelf import layers

quantities = st.decimals("0.000001", 10**12, places=6)
values = st.decimals(0, 10**15, places=2)


@pytest.mark.parametrize(
    ("written", "text"),
    [("2.50", "2.5"), ("10", "10"), ("1E+3", "1000"), ("0.000", "0"), ("0", "0"), ("0.000001", "0.000001")],
)
def test_a_quantity_has_one_form(written: str, text: str):
    assert str(plain(Decimal(written))) == quantity_text(Decimal(written)) == text


@pytest.mark.parametrize("quantity", ["0", "-1"])
def test_nothing_does_not_move(quantity: str):
    with pytest.raises(DomainError) as refusal:
        require_positive(Decimal(quantity))
    assert refusal.value.code == "inventory.quantity_not_positive"
    assert refusal.value.data == {"quantity": quantity}


@pytest.mark.parametrize(
    ("unit_cost", "currency", "code"),
    [
        ("-0.01", "EUR", "inventory.cost_negative"),
        ("0.001", "EUR", "money.too_many_decimals"),
        ("999999999999999999999", "EUR", "money.out_of_range"),
    ],
)
def test_what_is_no_cost(unit_cost: str, currency: str, code: str):
    with pytest.raises(DomainError) as refusal:
        cost(Decimal(100), Decimal(unit_cost), currency)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("quantity", "unit_cost", "currency", "value"),
    [
        ("3", "5.00", "EUR", "15.00"),
        ("0.5", "0.01", "EUR", "0.00"),
        ("1.5", "0.01", "EUR", "0.02"),
        ("2.5", "0.01", "EUR", "0.02"),
        ("0.000001", "1", "JPY", "0"),
        ("2", "0", "EUR", "0.00"),
    ],
)
def test_a_cost_is_rounded_half_even_to_the_minor_unit(
    quantity: str, unit_cost: str, currency: str, value: str
):
    assert str(cost(Decimal(quantity), Decimal(unit_cost), currency)) == value


@given(values, quantities, quantities)
def test_parts_are_never_worth_more_than_the_whole(value: Decimal, one: Decimal, another: Decimal):
    whole = one + another
    assert 0 <= share(value, one, whole, "EUR") <= value
    # Both halves are rounded, each by half a cent at most.
    both = share(value, one, whole, "EUR") + share(value, another, whole, "EUR")
    assert abs(both - value) <= Decimal("0.01")


def test_what_leaves_leaves_from_the_oldest_and_the_last_takes_the_rest():
    """A third of a cent is nobody's loss."""
    there = layers((1, "3", "10.00"), (2, "5", "20.00"))
    first = taken(there, Decimal(1), "EUR")
    assert first == layers((1, "1", "3.33"))
    there = without(there, first)
    second = taken(there, Decimal(1), "EUR")
    assert second == layers((1, "1", "3.34"))
    there = without(there, second)
    assert taken(there, Decimal(3), "EUR") == layers((1, "1", "3.33"), (2, "2", "8.00"))
    assert taken(there, Decimal(6), "EUR") == there
    assert without(there, there) == ()
    assert taken(there, Decimal(0), "EUR") == ()


def test_what_is_taken_need_not_be_at_the_front():
    there = layers((3, "1", "1.00"), (2, "5", "20.00"), (4, "2", "2.00"))
    assert without(there, layers((2, "5", "20.00"))) == layers((3, "1", "1.00"), (4, "2", "2.00"))


def test_layers_that_meet_become_one():
    assert joined((), layers((1, "1", "2.00"))) == layers((1, "1", "2.00"))
    assert joined(layers((1, "1", "2.00")), ()) == layers((1, "1", "2.00"))
    met = joined(layers((1, "1", "2.00"), (2, "1", "1.00")), layers((2, "3", "3.50"), (4, "1", "1.00")))
    assert met == layers((1, "1", "2.00"), (2, "4", "4.50"), (4, "1", "1.00"))


def test_fifo_numbers_what_comes_in_and_moving_average_does_not():
    goods = [(Decimal(1), Decimal(2)), (Decimal(3), Decimal(4))]
    assert numbered(goods, Valuation.FIFO, 7) == layers((8, "1", "2"), (9, "3", "4"))
    assert numbered(goods[:1], Valuation.MOVING_AVERAGE, 7) == layers((1, "1", "2"))


def test_what_a_count_finds_is_like_what_came_last():
    there = layers((1, "2", "4.00"), (2, "3", "10.00"))
    assert surplus_value(there, None, Decimal(2), "EUR") == Decimal("6.67")
    assert surplus_value((), there[0], Decimal(2), "EUR") == Decimal("4.00")
    assert surplus_value((), None, Decimal(2), "EUR") == 0


@given(st.lists(st.tuples(quantities, values), min_size=1, max_size=6), st.data())
def test_what_leaves_and_what_stays_is_what_there_was(
    goods: list[tuple[Decimal, Decimal]], data: st.DataObject
):
    there = numbered(goods, Valuation.FIFO, 0)
    units = int(quantity_of(there) * 10**6)
    quantity = Decimal(data.draw(st.integers(1, units))).scaleb(-6)
    used = taken(there, quantity, "EUR")
    left = without(there, used)
    assert quantity_of(used) == quantity
    assert quantity_of(used) + quantity_of(left) == quantity_of(there)
    assert value_of(used) + value_of(left) == value_of(there)
    assert all(each.quantity > 0 and each.value >= 0 for each in (*used, *left))
    assert joined(used, left) == there
