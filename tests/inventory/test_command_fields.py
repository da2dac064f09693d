"""What the commands of the warehouse take, and where they say that it is wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from commands.bus import Command
from commands.inventory import (
    HANDLERS,
    AdjustStock,
    ReceiveStock,
    RegisterItem,
    ReleaseOrder,
    ReserveOrder,
    ReserveStock,
    ShipOrder,
    TransferStock,
)

RECEIPT: dict[str, Any] = {"warehouse": "main", "sku": "A1", "quantity": "1", "unit_cost": "5.00"}
ITEM: dict[str, Any] = {
    "sku": "A1",
    "name": "Bolt",
    "unit": "pcs",
    "valuation": "fifo",
    "currency": "EUR",
}
ORDER: dict[str, Any] = {
    "order_id": "O-1",
    "warehouse": "main",
    "lines": [{"sku": "A1", "quantity": "1"}],
}


def places(command: type[Command], data: Any) -> set[tuple[str | int, ...]]:
    """Where the command says that the data are wrong."""
    with pytest.raises(ValidationError) as refusal:
        command.model_validate(data)
    return {error["loc"] for error in refusal.value.errors()}


@pytest.mark.parametrize(
    "quantity",
    [
        *(1, 1.5, True, None, [], "", " 1", "1\n", "+1", "-1", "1.", ".5", "1e3", "1,0", "NaN", "٣", "01"),
        *("0", "0.0", "0.000000", "1.1234567", "0.0000001", "1234567890123", "00.5"),
    ],
)
def test_what_is_no_quantity(quantity: Any):
    assert places(ReceiveStock, {**RECEIPT, "quantity": quantity}) == {("quantity",)}
    data = {**ORDER, "lines": [{"sku": "A1", "quantity": quantity}]}
    assert ("lines", 0, "quantity") in places(ReserveOrder, data)


@given(st.decimals("0.000001", "999999999999.999999", places=6))
def test_what_is_a_quantity(quantity: Any):
    for text in (f"{quantity:f}", f"{quantity.normalize():f}"):
        assert ReceiveStock.model_validate({**RECEIPT, "quantity": text}).quantity == text


@pytest.mark.parametrize("level", [0, "", "-1", "01", "1.1234567", "1234567890123", "1\n", None])
def test_what_is_no_level(level: Any):
    data = {"warehouse": "main", "sku": "A1", "counted_quantity": level, "reason": "broken"}
    assert places(AdjustStock, data) == {("counted_quantity",)}
    assert places(RegisterItem, {**ITEM, "reorder_point": level, "weight_kg": level}) == {
        ("reorder_point",),
        ("weight_kg",),
    }


def test_nothing_is_a_level():
    data = {"warehouse": "main", "sku": "A1", "counted_quantity": "0.00", "reason": "broken"}
    assert AdjustStock.model_validate(data).why == "broken"
    assert RegisterItem.model_validate(ITEM).reorder_point == "0"


@pytest.mark.parametrize("unit_cost", [5, "-1", "1.12345", "1" * 16, "", None])
def test_what_is_no_cost(unit_cost: Any):
    assert places(ReceiveStock, {**RECEIPT, "unit_cost": unit_cost}) == {("unit_cost",)}


@pytest.mark.parametrize("expires_in_s", ["60", 0, -1, 1.5, True, 366 * 86_400 + 1])
def test_what_is_no_time_to_wait(expires_in_s: Any):
    data = {"warehouse": "main", "sku": "A1", "reservation_id": "R", "quantity": "1"}
    assert places(ReserveStock, {**data, "expires_in_s": expires_in_s}) == {("expires_in_s",)}
    assert places(ReserveOrder, {**ORDER, "expires_in_s": expires_in_s}) == {("expires_in_s",)}


@pytest.mark.parametrize("lines", [[], None, {}, [ORDER["lines"][0]] * 1001])
def test_what_are_no_lines(lines: Any):
    assert places(ReserveOrder, {**ORDER, "lines": lines}) == {("lines",)}


@pytest.mark.parametrize("shipment", [0, "1", 1.0, None])
def test_what_is_no_shipment(shipment: Any):
    assert places(ShipOrder, {**ORDER, "shipment": shipment}) == {("shipment",)}


def test_a_release_says_of_what_and_why():
    data = {"order_id": "O-1", "warehouse": "main", "skus": [], "reason": ""}
    assert places(ReleaseOrder, data) == {("skus",), ("reason",)}


def test_a_transfer_is_from_somewhere_to_somewhere():
    data = {"sku": "A1", "from": "main", "to": "annex", "quantity": "1"}
    assert TransferStock.model_validate(data).from_ == "main"
    assert places(TransferStock, {**data, "from": "a/b"}) == {("from",)}
    assert places(TransferStock, {"sku": "A1", "from_": "main", "to": "annex", "quantity": "1"}) == {
        ("from",),
        ("from_",),
    }


def test_names_are_those_of_the_contract():
    assert sorted(command.TOPIC for command in HANDLERS) == [
        "inventory.adjust_stock",
        "inventory.expire_reservation",
        "inventory.issue_stock",
        "inventory.receive_stock",
        "inventory.register_item",
        "inventory.release_order",
        "inventory.release_reservation",
        "inventory.reserve_order",
        "inventory.reserve_stock",
        "inventory.return_order",
        "inventory.return_stock",
        "inventory.ship_order",
        "inventory.ship_reservation",
        "inventory.transfer_stock",
    ]
    assert sorted(command.TOPIC for command in HANDLERS if command.creates) == [
        "inventory.register_item",
        "inventory.transfer_stock",
    ]


@pytest.mark.parametrize("command", HANDLERS, ids=lambda command: command.TOPIC)
def test_every_command_describes_itself(command: type[Command]):
    schema = command.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["description"]
