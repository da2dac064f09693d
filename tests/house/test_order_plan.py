"""What is to be done about each line of a shop's invoices; no line is lost, and none counts twice."""

import io
import json
from collections import Counter
from contextlib import suppress
from datetime import UTC
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erp.imports import MalformedFile
from erp.order_import.file import read
from erp.order_import.opening import cost_of
from erp.order_import.places import country_code
from erp.order_import.plan import Adjustment, Goods, Plan, Return, Sale, make_plan
from erp.order_import.report import Report

ANN = "17850"


def invoice(number: str, *lines: list[Any], **changes: Any) -> dict[str, Any]:
    """A sale to Ann, unless told otherwise."""
    told = {"kind": "sale", "at": "2010-12-01 08:26:00", "customer": ANN, "country": "United Kingdom"}
    return {"invoice": number, **told, "lines": list(lines), **changes}


def line(
    sku: str = "71053", quantity: Any = 6, price: str = "3.39", description: str = "LANTERN"
) -> list[Any]:
    return [sku, quantity, price, description]


def planned(*invoices: dict[str, Any]) -> Plan:
    return make_plan(read(json.dumps(each) for each in invoices), currency="GBP")


def refused(plan: Plan) -> list[tuple[str, int, str]]:
    return [(each.line.invoice, each.line.number, str(each.reason)) for each in plan.refused]


def test_a_sale_is_an_order():
    plan = planned(invoice("1", line(), line("85123a", 2, "2.5", "HOLDER")))
    (sale,) = plan.entries
    assert isinstance(sale, Sale)
    assert [(each.sku, int(each.quantity), str(each.unit_price), each.name) for each in sale.ordered] == [
        ("71053", 6, "3.39", "LANTERN"),
        ("85123A", 2, "2.5", "HOLDER"),
    ]
    assert (sale.part, sale.invoice.day.isoformat(), plan.refused, plan.lines) == (1, "2010-12-01", [], 2)


def test_a_sku_that_comes_twice_at_one_price_is_one_line():
    (sale,) = planned(invoice("1", line(quantity=6), line(quantity=2))).entries
    assert isinstance(sale, Sale)
    assert [each.quantity for each in sale.ordered] == [8]
    assert [each.number for each in sale.lines] == [1, 2]


def test_a_sku_that_comes_at_two_prices_makes_a_second_order():
    first, second = planned(invoice("1", line(), line("22086"), line(price="1.00"))).entries
    assert isinstance(first, Sale)
    assert isinstance(second, Sale)
    assert [(sale.part, [each.sku for each in sale.ordered]) for sale in (first, second)] == [
        (1, ["71053", "22086"]),
        (2, ["71053"]),
    ]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (line("POST"), "no goods"),
        (line("BANK CHARGES"), "no goods"),
        (line("C2"), "no goods"),
        (line(price="0.0"), "price is zero"),
        (line(price="-3.39"), "price is negative"),
        (line(price="0.001"), "price is finer than the currency"),
        (line(quantity=-6), "negative quantity in a sale"),
        (line(quantity=0), "quantity is zero"),
    ],
)
def test_what_cannot_be_sold_is_told(said: list[Any], reason: str):
    plan = planned(invoice("1", line(), said))
    assert refused(plan) == [("1", 2, reason)]
    assert [len(each.lines) for each in plan.entries] == [1]


def test_a_cancellation_of_all_that_was_sold_takes_it_back():
    sold = invoice("1", line(), line("22086"), line("POST", 1))
    cancelled = invoice("C2", line("22086", -6), line(quantity=-6), kind="cancel", at="2010-12-02 09:00:00")
    sale, back = planned(cancelled, sold).entries
    assert isinstance(sale, Sale)
    assert isinstance(back, Return)
    assert (back.sale, len(back.lines)) == ("1", 2)


@pytest.mark.parametrize(
    ("cancelled", "reason"),
    [
        ({}, "cancels part of a sale"),
        ({"customer": "13047"}, "cancels no sale of this file"),
        ({"customer": None}, "cancels no sale of this file"),
        ({"at": "2010-11-30 09:00:00"}, "cancels no sale of this file"),
        ({"lines": [line(quantity=-7)]}, "cancels no sale of this file"),
        ({"lines": [line(quantity=-6, price="3.38")]}, "cancels no sale of this file"),
        ({"lines": [line("POST", -1)]}, "no goods"),
        ({"lines": [line(quantity=6)]}, "quantity of a cancellation is not negative"),
    ],
)
def test_other_cancellations_are_told(cancelled: dict[str, Any], reason: str):
    said = {"kind": "cancel", "at": "2010-12-02 09:00:00", "lines": [line(quantity=-6)], **cancelled}
    plan = planned(invoice("1", line(), line("22086")), invoice("C2", **said))
    assert refused(plan) == [("C2", 1, reason)]


def test_a_sale_is_taken_back_once():
    cancelled = {"kind": "cancel", "at": "2010-12-02 09:00:00"}
    plan = planned(
        invoice("1", line()),
        invoice("C2", line(quantity=-6), **cancelled),
        invoice("C3", line(quantity=-6), **cancelled),
    )
    assert refused(plan) == [("C3", 1, "cancels no sale of this file")]


def test_an_adjustment_of_quantities_is_one_of_stock():
    said = [
        line(quantity=-2, price="0.0"),
        line(quantity=3, price="0"),
        line("B", 1, "11062.06"),
        line(price="1"),
    ]
    plan = planned(
        invoice("A1", *said, kind="adjust"), invoice("A2", line(quantity=0, price="0"), kind="adjust")
    )
    assert all(isinstance(each, Adjustment) for each in plan.entries)
    assert [int(each.lines[0].quantity) for each in plan.entries] == [-2, 3]
    assert refused(plan) == [
        ("A1", 3, "adjusts money"),
        ("A1", 4, "adjusts money"),
        ("A2", 1, "quantity is zero"),
    ]
    assert plan.goods["71053"].demand == 2


def test_an_invoice_counts_once():
    plan = planned(invoice("1", line()), invoice("1", line()), invoice("3", line(), kind="quote"))
    assert refused(plan) == [("1", 1, "invoice comes twice"), ("3", 1, "unknown kind of invoice")]


def test_what_is_sold_is_what_opening_stock_has_to_be():
    plan = planned(
        invoice("1", line(quantity=6, price="2.05", description="")),
        invoice("2", line(quantity=4, price="2.00"), line(quantity=1, price="0.0")),
    )
    goods = plan.goods["71053"]
    assert (int(goods.demand), str(goods.lowest_price), goods.name, goods.first_invoice) == (
        10,
        "2.00",
        "LANTERN",
        "1",
    )
    assert str(cost_of(goods, "GBP")) == "1.20"


@pytest.mark.parametrize(("price", "cost"), [("2.51", "1.51"), ("0.01", "0.01"), ("0.03", "0.02")])
def test_a_cost_is_an_amount_of_money(price: str, cost: str):
    assert str(cost_of(Goods(lowest_price=Decimal(price)), "GBP")) == cost


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        json.dumps({**invoice("1"), "more": 1}),
        json.dumps(invoice("a/b")),
        json.dumps(invoice("1", customer="")),
        json.dumps(invoice("1", kind=None)),
        json.dumps(invoice("1", at="yesterday")),
        json.dumps(invoice("1", lines={})),
        json.dumps(invoice("1", ["71053", 6, "3.39"])),
        json.dumps(invoice("1", [71053, 6, "3.39", ""])),
        json.dumps(invoice("1", line(quantity=True))),
        json.dumps(invoice("1", line(price="dear"))),
        json.dumps(invoice("1", line(price="NaN"))),
        json.dumps(invoice("1", at="2010-12-01T08:26:00Z")),
        json.dumps(invoice("1", at="2010-12-01 08:26:00+00:00")),
        json.dumps(invoice("1", line(price="1" * 40))),
        json.dumps(invoice("1", line(price="1" * 5000))),
        json.dumps(invoice("1", line(price="0.000000000000000000001"))),
        json.dumps(invoice("1", line(quantity=10**15))),
        json.dumps(invoice("1", line())).replace(" 6,", " 1e999999,"),
        json.dumps(invoice("1", line(description="half a pair: \ud800"))),
        "[" * 200_000,
    ],
)
def test_what_is_no_invoice_is_told_with_its_line(text: str):
    with pytest.raises(MalformedFile, match="line 3 is no invoice"):
        list(read([json.dumps(invoice("0", line())), "\n", text]))


texts = st.text("aé \0\ud800", max_size=5)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=5,
)
numbers = (
    st.integers(-9, 9)
    | st.sampled_from(["2.50", "1E+3", "1E+999999", "-0E-999999"])
    | st.decimals().map(str)
    | st.integers(-(10**40), 10**40)
)
odd_lines = st.builds(line, st.sampled_from(["71053", "POST"]), numbers, numbers, texts)
odd_fields = {
    "invoice": st.sampled_from("123"),
    "kind": st.sampled_from(["sale", "cancel", "adjust"]),
    "at": st.datetimes(timezones=st.none() | st.just(UTC)).map(str),
    "customer": st.none() | texts,
    "country": texts,
    "lines": st.lists(odd_lines | anything, max_size=3) | anything,
}
odd_invoices = st.builds(
    lambda changes: invoice("0", line(), **changes),
    st.one_of(
        *(st.fixed_dictionaries({name: said | anything}) for name, said in odd_fields.items()),
        st.fixed_dictionaries({"invoice": odd_fields["invoice"], "lines": st.lists(odd_lines, max_size=3)}),
    ),
)


@given(st.lists(odd_invoices, max_size=3))
def test_whatever_a_file_says_it_is_planned_and_reported_or_no_invoice(file: list[Any]):
    with suppress(MalformedFile):
        target = io.StringIO()
        Report(refused=planned(*file).refused).write(target)
        target.getvalue().encode()


def test_the_report_has_every_line_in_full():
    plan = planned(invoice("1", line(), line("POST", 1, "18.00", "POSTAGE")))
    report = Report(booked=1, refused=plan.refused)
    target = io.StringIO()
    report.write(target)
    assert json.loads(target.getvalue()) == {
        "invoice": "1",
        "kind": "sale",
        "at": "2010-12-01 08:26:00",
        "line": 2,
        "sku": "POST",
        "quantity": "1",
        "unit_price": "18.00",
        "description": "POSTAGE",
        "reason": "no goods",
        "detail": "",
    }
    assert report.summary() == [
        "orders: 1 of 2 lines are in the books",
        "they are 0 orders, 0 of them returned, and 0 adjustments of stock",
        "nothing is new: all of that was in the books already",
        "not in the books: 1 lines",
        "       1  no goods",
    ]


def test_countries_have_codes():
    assert [country_code(name) for name in ("EIRE", " Germany ", "Unspecified")] == [
        "IE",
        "DE",
        "Unspecified",
    ]


lines = st.builds(
    line,
    st.sampled_from(["71053", "85123A", "85123a", "22086", "POST", "M"]),
    st.integers(-3, 3),
    st.sampled_from(["-1", "0.0", "1.00", "2.5", "0.001"]),
)
invoices = st.builds(
    lambda number, said, **told: invoice(number, *said, **told),
    st.integers(1, 6).map(str),
    st.lists(lines, max_size=6),
    kind=st.sampled_from(["sale", "sale", "cancel", "adjust", "quote"]),
    at=st.integers(1, 9).map(lambda day: f"2010-12-0{day} 10:00:00"),
    customer=st.sampled_from([None, ANN, "13047"]),
)


@given(st.lists(invoices, max_size=8))
def test_every_line_is_planned_or_refused_and_never_both(file: list[dict[str, Any]]):
    plan = planned(*file)
    settled = Counter(
        (line.invoice, line.at, line.number)
        for line in [
            *(one for each in plan.entries for one in each.lines),
            *(each.line for each in plan.refused),
        ]
    )
    said = Counter(
        (line.invoice, line.at, line.number)
        for each in read(json.dumps(one) for one in file)
        for line in each.lines
    )
    assert settled == said
    assert plan.lines == settled.total()


@given(st.lists(invoices, max_size=8))
def test_an_order_has_a_sku_once_and_what_it_needs_is_counted(file: list[dict[str, Any]]):
    plan = planned(*file)
    needed: Counter[str] = Counter()
    for entry in plan.entries:
        if isinstance(entry, Sale):
            assert len({each.sku for each in entry.ordered}) == len(entry.ordered)
            assert all(each.quantity > 0 and each.unit_price > 0 for each in entry.ordered)
            needed.update({each.sku: int(each.quantity) for each in entry.ordered})
        elif isinstance(entry, Adjustment):
            needed[entry.sku] += max(-int(entry.lines[0].quantity), 0)
    assert {sku: goods.demand for sku, goods in plan.goods.items()} == {
        sku: needed[sku] for sku in plan.goods
    }
    assert set(needed) <= set(plan.goods)
