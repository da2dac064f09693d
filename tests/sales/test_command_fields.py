"""What the commands take, and where they say that it is wrong."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from commands.bus import Command
from commands.sales import (
    HANDLERS,
    AddOrderLine,
    CancelOrder,
    ConfirmOrder,
    PlaceOrder,
    ReturnOrder,
    SetPricingPolicy,
    ShipOrder,
)
from tests.sales.history import ADDRESS, ORDER, POLICY, one_line

Place = tuple[str | int, ...]

ID = UUID(int=7)
LINE: dict[str, Any] = {"id": ID, "sku": "A1", "name": "Tea", "quantity": "1", "unit_price": "1.00"}


def places(command: type[Command], data: Any) -> set[Place]:
    """Where the command says that the data are wrong."""
    with pytest.raises(ValidationError) as refusal:
        command.model_validate(data)
    return {error["loc"] for error in refusal.value.errors()}


def without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


def with_line(**fields: Any) -> dict[str, Any]:
    return {**ORDER, "lines": [{**one_line()[0], **fields}]}


def test_the_order_of_the_contract_is_one():
    command = PlaceOrder.model_validate(ORDER)
    assert (command.permission, command.why) == ("sales.orders:write", None)
    assert [line.quantity for line in command.lines] == ["10", "3"]


@pytest.mark.parametrize("name", sorted(ORDER))
def test_nothing_of_an_order_may_be_left_out(name: str):
    assert places(PlaceOrder, without(ORDER, name)) == {(name,)}


@pytest.mark.parametrize("name", ["sku", "name", "quantity", "unit_price"])
def test_nothing_of_a_line_may_be_left_out(name: str):
    assert places(PlaceOrder, {**ORDER, "lines": [without(one_line()[0], name)]}) == {("lines", 0, name)}
    assert places(AddOrderLine, without(LINE, name)) == {(name,)}


@pytest.mark.parametrize("name", sorted(ADDRESS))
def test_nothing_of_an_address_may_be_left_out(name: str):
    at = "shipping_address"
    assert places(PlaceOrder, {**ORDER, at: without(ADDRESS, name)}) == {(at, name)}
    empty = {**ORDER, at: {**ADDRESS, name: ""}}
    if name == "postal_code":  # not every country has them
        assert PlaceOrder.model_validate(empty).shipping_address.postal_code == ""
    else:
        assert places(PlaceOrder, empty) == {(at, name)}


@pytest.mark.parametrize("quantity", ["0", "-1", "1.0000001", "1e3", "", 1, 1.5, None, "1,5", "1" * 13])
def test_what_is_no_quantity(quantity: Any):
    assert places(PlaceOrder, with_line(quantity=quantity)) == {("lines", 0, "quantity")}
    part = {"id": ID, "lines": [{"sku": "A1", "quantity": quantity}]}
    assert places(ShipOrder, part) == {("lines", 0, "quantity")}


@pytest.mark.parametrize("price", ["-1", "-0.01", "1.001", "1.000", "", 1, 1.5, None, "1" * 16])
def test_what_is_no_price_in_euros(price: Any):
    assert places(PlaceOrder, with_line(unit_price=price)) == {("lines", 0, "unit_price")}


def test_how_fine_a_price_is_depends_on_the_currency():
    assert places(PlaceOrder, {**with_line(unit_price="1.5"), "currency": "JPY"}) == {
        ("lines", 0, "unit_price")
    }
    PlaceOrder.model_validate({**with_line(unit_price="1.555"), "currency": "KWD"})
    PlaceOrder.model_validate(with_line(unit_price="0"))


@pytest.mark.parametrize("lines", [[], None, "A1", {}, one_line() * 1001])
def test_what_are_no_lines(lines: Any):
    assert places(PlaceOrder, {**ORDER, "lines": lines}) == {("lines",)}


@pytest.mark.parametrize("lines", [[], "A1", {}, [{"sku": "A1", "quantity": "1"}] * 1001])
def test_what_is_no_shipment(lines: Any):
    assert places(ShipOrder, {"id": ID, "lines": lines}) == {("lines",)}


def test_a_shipment_without_lines_is_of_all():
    assert ShipOrder.model_validate({"id": ID}).lines is None
    assert ShipOrder.model_validate({"id": ID, "lines": None}).lines is None


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"customer_id": ""}, ("customer_id",)),
        ({"customer_tier": "diamond"}, ("customer_tier",)),
        ({"currency": "XXX"}, ("currency",)),
        ({"warehouse": "a/b"}, ("warehouse",)),
        ({"status": "confirmed"}, ("status",)),
        ({"shipping_address": {**ADDRESS, "phone": "1"}}, ("shipping_address", "phone")),
        ({"payment": {"method": "cash", "token": "tok_ok"}}, ("payment", "method")),
        ({"payment": {"method": "card", "token": "two words"}}, ("payment", "token")),
        ({"payment": {"method": "card", "token": ""}}, ("payment", "token")),
        ({"payment": {"method": "card", "token": "t", "pan": "4111"}}, ("payment", "pan")),
    ],
)
def test_what_is_no_order(changes: dict[str, Any], place: Place):
    assert places(PlaceOrder, {**ORDER, **changes}) == {place}


@pytest.mark.parametrize("code", ["", "Customer", "a.b.c", "a b", "1", ".", "a.", "a" * 101])
def test_what_is_no_code_of_a_cancellation(code: str):
    assert places(CancelOrder, {"id": ID, "reason": "why", "code": code}) == {("code",)}


def test_a_cancellation_says_why():
    assert places(CancelOrder, {"id": ID}) == {("reason",)}
    command = CancelOrder.model_validate({"id": ID, "reason": "why"})
    assert (command.code, command.why) == ("customer", "why")


def test_a_return_may_say_why():
    assert ReturnOrder.model_validate({"id": ID}).reason is None
    assert places(ReturnOrder, {"id": ID, "reason": ""}) == {("reason",)}


@pytest.mark.parametrize("revision", [0, -1, "1", 1.0, True, None])
def test_what_is_no_revision(revision: Any):
    data = {"id": ID, "revision": revision, "payment_id": ID}
    assert places(ConfirmOrder, data) == {("revision",)}


@pytest.mark.parametrize("rate", ["-0.1", "1.1", "2", "15", ".5", "0.1234567", "1.000001", "15%", 0.15, 1])
def test_what_is_no_rate(rate: Any):
    assert places(SetPricingPolicy, {**POLICY, "tax_rate": rate}) == {("tax_rate",)}
    data = {**POLICY, "discounts": {**POLICY["discounts"], "gold": rate}}
    assert places(SetPricingPolicy, data) == {("discounts", "gold")}


@pytest.mark.parametrize("rate", ["0", "1", "0.0", "1.000000", "0.000001", "0.2"])
def test_a_rate_is_from_nothing_to_everything(rate: str):
    assert SetPricingPolicy.model_validate({**POLICY, "tax_rate": rate}).tax_rate == rate


@pytest.mark.parametrize("name", sorted(POLICY["shipping"]))
def test_shipping_is_said_whole(name: str):
    data = {**POLICY, "shipping": without(POLICY["shipping"], name)}
    assert places(SetPricingPolicy, data) == {("shipping", name)}


@pytest.mark.parametrize(
    "codes", [{"de": ["1"]}, {"DEU": ["1"]}, {"DE": [""]}, {"DE": ["a"]}, {"DE": "1"}, {"DE": [1]}, []]
)
def test_what_are_no_remote_places(codes: Any):
    data = {**POLICY, "shipping": {**POLICY["shipping"], "remote_postal_codes": codes}}
    for place in places(SetPricingPolicy, data):
        assert place[:2] == ("shipping", "remote_postal_codes")


def test_names_are_those_of_the_contract():
    assert sorted(command.TOPIC for command in HANDLERS) == [
        "sales.add_order_line",
        "sales.cancel_order",
        "sales.confirm_order",
        "sales.place_order",
        "sales.remove_order_line",
        "sales.return_order",
        "sales.set_pricing_policy",
        "sales.ship_order",
    ]
    assert [command.TOPIC for command in HANDLERS if command.creates] == ["sales.place_order"]


@pytest.mark.parametrize("command", HANDLERS, ids=lambda command: command.TOPIC)
def test_every_command_describes_itself(command: type[Command]):
    schema = command.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["description"]
