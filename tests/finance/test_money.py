"""Money is exact, or an error."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.shared.errors import DomainError
from domain.shared.money import (
    CURRENCIES,
    Money,
    MoneyError,
    amount_text,
    in_minor_units,
    is_currency,
    minor_units,
)

currencies = st.sampled_from(sorted(CURRENCIES))
counts = st.integers(-(10**17), 10**17)
"""Of minor units."""


def money(count: int, currency: str) -> Money:
    return Money(Decimal(count).scaleb(-minor_units(currency)), currency)


@pytest.mark.parametrize(
    ("currency", "units"),
    [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("UYW", 4), ("XAF", 0), ("XCG", 2)],
)
def test_minor_units_of_iso_4217(currency: str, units: int):
    assert minor_units(currency) == units


def test_the_table_is_of_three_letter_codes_in_order():
    assert list(CURRENCIES) == sorted(CURRENCIES)
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in CURRENCIES)
    assert len(CURRENCIES) == 165


@pytest.mark.parametrize("code", ["XXX", "XAU", "XTS", "BGN", "HRK", "DEM", "eur", "", "EURO"])
def test_what_is_no_active_currency(code: str):
    assert not is_currency(code)
    with pytest.raises(MoneyError) as refusal:
        minor_units(code)
    assert refusal.value.code == "money.unknown_currency"
    with pytest.raises(MoneyError):
        Money(Decimal(1), code)


@given(counts, currencies)
def test_an_amount_has_exactly_its_currencys_decimals(count: int, currency: str):
    text = amount_text(money(count, currency).amount, currency)
    assert len(text.partition(".")[2]) == minor_units(currency)
    assert Decimal(text) == Decimal(count).scaleb(-minor_units(currency))
    assert in_minor_units(Decimal(text), currency).as_tuple() == Decimal(text).as_tuple()


@given(counts.filter(lambda count: count % 10 != 0), currencies)
def test_an_amount_finer_than_the_minor_unit_is_refused(count: int, currency: str):
    with pytest.raises(MoneyError) as refusal:
        Money(Decimal(count).scaleb(-minor_units(currency) - 1), currency)
    assert refusal.value.code == "money.too_many_decimals"


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity", "1" * 40, "1e30"])
def test_what_no_books_can_hold(amount: str):
    with pytest.raises(MoneyError) as refusal:
        Money(Decimal(amount), "EUR")
    assert refusal.value.code == "money.out_of_range"


@given(counts, counts, currencies)
def test_arithmetic_is_that_of_integers(a: int, b: int, currency: str):
    one, other = money(a, currency), money(b, currency)
    assert one + other == money(a + b, currency)
    assert one - other == money(a - b, currency)
    assert -one == money(-a, currency)
    assert one + Money.zero(currency) == one
    assert (one < other, one <= other, one > other, one >= other) == (a < b, a <= b, a > b, a >= b)


@given(counts, st.lists(currencies, min_size=2, max_size=2, unique=True))
def test_currencies_do_not_mix(count: int, two: list[str]):
    one, other = money(count, two[0]), Money.zero(two[1])
    for mix in (
        lambda: one + other,
        lambda: one - other,
        lambda: one < other,
        lambda: one <= other,
        lambda: one > other,
        lambda: one >= other,
    ):
        with pytest.raises(DomainError) as refusal:
            mix()
        assert refusal.value.code == "money.currencies_differ"
    assert one != other


def test_money_is_shown_with_its_currency():
    assert str(Money(Decimal(5), "EUR")) == "5.00 EUR"
    assert str(Money(Decimal("-1E+3"), "JPY")) == "-1000 JPY"
