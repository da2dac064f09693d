"""What an order comes to."""

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sales.pricing import OrderLine, Terms, WantedLine, price, priced, shipping_of
from domain.sales.pricing_policy import Tier
from domain.shared.errors import DomainError
from domain.shared.money import minor_units
from tests.sales.goods import any_terms, carts, charges, currencies, line, quantities, terms, wanted, weights


def amounts(of: object) -> dict[str, str]:
    return {name: str(getattr(of, name)) for name in ("subtotal", "discount", "tax", "shipping", "total")}


@pytest.mark.parametrize(
    ("tier", "discount", "tax", "total"),
    [
        (Tier.PLATINUM, "15.00", "17.00", "112.00"),
        (Tier.GOLD, "10.00", "18.00", "118.00"),
        (Tier.SILVER, "5.00", "19.00", "124.00"),
        (Tier.BRONZE, "0.00", "20.00", "130.00"),
    ],
)
def test_the_better_the_customer_the_higher_the_discount(tier: Tier, discount: str, tax: str, total: str):
    pricing = price([line(quantity="10")], terms(tier), "EUR")
    assert amounts(pricing) == {
        "subtotal": "100.00",
        "discount": discount,
        "tax": tax,
        "shipping": "10.00",
        "total": total,
    }
    assert pricing.net == pricing.subtotal - pricing.discount


@pytest.mark.parametrize(
    ("weight_kg", "remote", "shipping"),
    [
        ("0", False, "10.00"),
        ("50", False, "10.00"),
        ("50.01", False, "10.00"),
        ("50.05", False, "10.02"),
        ("51", False, "10.50"),
        ("150", False, "60.00"),
        ("1", True, "25.00"),
        ("51", True, "25.50"),
    ],
)
def test_shipping_goes_by_weight_and_place(weight_kg: str, remote: bool, shipping: str):
    place = ("GB", "ZE1 0AA") if remote else ("DE", "10115")
    by = terms(Tier.BRONZE, *place)
    assert str(shipping_of(Decimal(weight_kg), by, "EUR")) == shipping
    pricing = price([line(quantity="1", weight_kg=weight_kg)], by, "EUR")
    assert (str(pricing.shipping), pricing.remote, pricing.weight_kg) == (
        shipping,
        remote,
        Decimal(weight_kg),
    )


@pytest.mark.parametrize(
    ("quantity", "unit_price", "currency", "amount"),
    [
        ("0.5", "0.01", "EUR", "0.00"),
        ("1.5", "0.01", "EUR", "0.02"),
        ("2.5", "0.01", "EUR", "0.02"),
        ("2.500001", "0.01", "EUR", "0.03"),
        ("3", "0.5", "EUR", "1.50"),
        ("0.5", "1", "JPY", "0"),
        ("1.5", "1", "JPY", "2"),
        ("0.5", "0.001", "KWD", "0.000"),
        ("1", "0", "EUR", "0.00"),
        ("1000", "999999999999.99", "EUR", "999999999999990.00"),
    ],
)
def test_a_line_is_rounded_half_even_to_the_minor_unit(
    quantity: str, unit_price: str, currency: str, amount: str
):
    assert str(line("A1", quantity, unit_price, currency=currency).amount) == amount


def test_quantities_and_weights_have_one_form():
    said = line("A1", "2.50", weight_kg="10.0")
    assert (str(said.quantity), str(said.weight_kg)) == ("2.5", "10")
    assert str(price([said], terms(), "EUR").weight_kg) == "25"


def test_each_line_is_rounded_by_itself():
    lines = [line(sku, "0.5", "0.03") for sku in ("A", "B", "C")]
    assert [str(each.amount) for each in lines] == ["0.02"] * 3
    assert str(price(lines, terms(), "EUR").subtotal) == "0.06"


def test_tax_is_on_what_is_left_of_the_goods_and_not_on_shipping():
    pricing = price([line(quantity="1", unit_price="0.10")], terms(Tier.PLATINUM), "EUR")
    assert amounts(pricing) == {
        "subtotal": "0.10",
        "discount": "0.02",
        "tax": "0.02",
        "shipping": "10.00",
        "total": "10.10",
    }


@pytest.mark.parametrize(
    ("said", "code", "data"),
    [
        (wanted(quantity="0"), "sales.quantity_not_positive", {"sku": "A1", "quantity": "0"}),
        (wanted(quantity="-0.5"), "sales.quantity_not_positive", {"sku": "A1", "quantity": "-0.5"}),
        (wanted(unit_price="-0.01"), "sales.price_negative", {"sku": "A1", "unit_price": "-0.01"}),
        (
            wanted(unit_price="0.001"),
            "money.too_many_decimals",
            {"amount": "0.001", "currency": "EUR", "minor_units": 2},
        ),
        (
            wanted(currency="USD"),
            "sales.currency_mismatch",
            {"sku": "A1", "currency": "EUR", "item_currency": "USD"},
        ),
        (wanted("A1", "1000000", "1000000000"), "money.out_of_range", {"amount": "1000000000000000.00"}),
    ],
)
def test_what_has_no_price(said: WantedLine, code: str, data: dict[str, Any]):
    with pytest.raises(DomainError) as refusal:
        priced(said, "EUR")
    assert (refusal.value.code, refusal.value.data) == (code, data)


@pytest.mark.parametrize(
    ("lines", "code", "data"),
    [
        ([], "sales.no_lines", {}),
        ([line("A1"), line("B2"), line("A1")], "sales.duplicate_line", {"sku": "A1"}),
        ([line(f"S{n}") for n in range(1001)], "sales.too_many_lines", {"lines": 1001, "lines_max": 1000}),
        (
            [line("A1", "1", "999999999999999.99"), line("B2", "1", "0.01")],
            "money.out_of_range",
            {"amount": "1000000000000000.00"},
        ),
        (
            [line("A1", "1", "999999999999990")],
            "money.out_of_range",
            {"amount": "1199999999999998.00"},
        ),
    ],
)
def test_what_is_no_order(lines: list[OrderLine], code: str, data: dict[str, Any]):
    with pytest.raises(DomainError) as refusal:
        price(lines, terms(), "EUR")
    assert (refusal.value.code, refusal.value.data) == (code, data)


def test_a_thousand_lines_are_an_order():
    assert str(price([line(f"S{n}") for n in range(1000)], terms(), "EUR").subtotal) == "20000.00"


def nearest(exact: Fraction, currency: str) -> Decimal:
    """By the book, with integers: the nearest minor unit, of two the even one."""
    units = minor_units(currency)
    return Decimal(round(exact * 10**units)).scaleb(-units)


@given(st.data(), currencies, any_terms())
def test_the_amounts_are_those_of_exact_arithmetic(data: st.DataObject, currency: str, by: Terms):
    lines = [priced(each, currency) for each in data.draw(carts(currency))]
    pricing = price(lines, by, currency)
    for each in lines:
        assert each.amount == nearest(Fraction(each.quantity) * Fraction(each.unit_price), currency)
    subtotal = sum(each.amount for each in lines)
    discount = nearest(Fraction(subtotal) * Fraction(by.discount_rate), currency)
    weight = sum(Fraction(each.quantity) * Fraction(each.weight_kg) for each in lines)
    heavy = max(weight - Fraction(by.free_weight_kg), Fraction(0))
    shipping = Fraction(by.shipping_base) + heavy * Fraction(by.per_kg) + Fraction(by.remote_surcharge)
    assert Fraction(pricing.weight_kg) == weight
    assert (pricing.subtotal, pricing.discount) == (subtotal, discount)
    assert pricing.tax == nearest(Fraction(pricing.net) * Fraction(by.tax_rate), currency)
    assert pricing.shipping == nearest(shipping, currency)


@given(st.data(), currencies, any_terms())
def test_totals_add_up_and_nothing_is_below_zero(data: st.DataObject, currency: str, by: Terms):
    lines = [priced(each, currency) for each in data.draw(carts(currency))]
    pricing = price(lines, by, currency)
    assert pricing.total == pricing.subtotal - pricing.discount + pricing.tax + pricing.shipping
    told = (pricing.subtotal, pricing.discount, pricing.net, pricing.tax, pricing.shipping, pricing.total)
    for amount in told:
        assert amount >= 0
        assert amount == amount.quantize(Decimal(1).scaleb(-minor_units(currency)), ROUND_HALF_EVEN)
        assert -int(amount.as_tuple().exponent) == minor_units(currency)
    assert pricing.discount <= pricing.subtotal
    assert (pricing.discount_rate, pricing.tax_rate, pricing.remote) == (
        by.discount_rate,
        by.tax_rate,
        by.remote,
    )


@given(st.data(), currencies, any_terms())
def test_the_order_of_the_lines_does_not_matter(data: st.DataObject, currency: str, by: Terms):
    lines = [priced(each, currency) for each in data.draw(carts(currency))]
    assert price(lines, by, currency) == price(data.draw(st.permutations(lines)), by, currency)


@given(any_terms(), weights, weights, charges)
def test_more_weight_never_costs_less(by: Terms, light: Decimal, more: Decimal, dearer: Decimal):
    assert shipping_of(light, by, "EUR") <= shipping_of(light + more, by, "EUR")
    costly = replace(by, per_kg=by.per_kg + dearer)
    assert shipping_of(light, by, "EUR") <= shipping_of(light, costly, "EUR")


@given(quantities, st.integers(0, 10**6))
def test_more_of_it_never_costs_less(quantity: Decimal, cents: int):
    unit_price = str(Decimal(cents).scaleb(-2))
    assert line("A1", str(quantity), unit_price).amount <= line("A1", str(quantity + 1), unit_price).amount
