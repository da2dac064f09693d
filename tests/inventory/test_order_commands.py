"""What an order does to the stock of all its skus, through bus and store."""

from datetime import date
from decimal import Decimal

import pytest

from commands.bus import Command
from commands.inventory import ReleaseOrder, ReserveOrder
from domain.inventory.stock import Stock, stock_id
from tests.dsl import Company, happened
from tests.inventory.history import (
    STOCKED,
    item,
    lines,
    receive,
    reserve_order,
    return_order,
    ship_order,
)

pytestmark = pytest.mark.integration

BOTH: tuple[Command, ...] = (*STOCKED, item("B2", reorder_point="0"), receive("5", "2.00", sku="B2"))
RELEASE = ReleaseOrder(order_id="O-1", warehouse="main", skus=("A1", "B2"), reason="declined")


def topic(command: Command) -> str:
    return command.TOPIC


async def on_hand(company: Company, sku: str) -> list[Decimal]:
    """And what is available of it."""
    stock = await company.load(Stock, stock_id(company.tenant, "main", sku))
    return [stock.on_hand, stock.available]


async def test_all_lines_are_reserved(company: Company):
    answer = (
        await company.given(*BOTH)
        .when(reserve_order(A1="4", B2="5"))
        .then(
            happened(
                Stock.Reserved,
                sku="A1",
                reservation_id="O-1",
                order_id="O-1",
                quantity=Decimal(4),
                expires_at=None,
            ),
            happened(Stock.Reserved, sku="B2", reservation_id="O-1", quantity=Decimal(5)),
            happened(Stock.ReorderPointReached, sku="B2"),
        )
    )
    assert answer.id == stock_id(company.tenant, "main", "A1")


async def test_all_lines_are_reserved_or_none(company: Company):
    refusal = (
        await company.given(*BOTH).when(reserve_order(A1="4", B2="6")).refused("inventory.insufficient_stock")
    )
    assert refusal.data == {"warehouse": "main", "sku": "B2", "available": "5", "requested": "6"}
    assert await on_hand(company, "A1") == [20, 20]


async def test_a_sku_that_is_named_twice_counts_together(company: Company):
    data = {"order_id": "O-1", "warehouse": "main", "lines": [*lines(A1="12"), *lines(A1="9")]}
    command = ReserveOrder.model_validate({**data, "expires_in_s": 60})
    refusal = await company.given(*BOTH).when(command).refused("inventory.insufficient_stock")
    assert refusal.data["requested"] == "21"


@pytest.mark.parametrize("since", [receive("1"), ship_order(A1="4", B2="3")], ids=topic)
async def test_the_same_reservation_is_the_same_answer(company: Company, since: Command):
    first = (
        await company.given(*BOTH)
        .when(reserve_order(A1="4", B2="5"))
        .then(*[happened(each) for each in (Stock.Reserved, Stock.Reserved, Stock.ReorderPointReached)])
    )
    await company.execute(since)
    company.store.recorded.clear()
    again = await company.execute(reserve_order(A1="4", B2="5"))
    assert company.store.recorded == []
    assert (again.id, again.version, again.replayed) == (first.id, first.version, True)


async def test_reserving_twice_under_one_key_reserves_once(company: Company):
    await company.given(*BOTH).when(reserve_order(A1="4")).repeated()


async def test_an_order_is_released_as_far_as_it_was_reserved(company: Company):
    history = (*BOTH, reserve_order(A1="4", B2="5"), ship_order(A1="1", B2="5"))
    await (
        company.given(*history)
        .when(RELEASE)
        .then(
            happened(
                Stock.Released,
                sku="A1",
                quantity=Decimal(3),
                order_id="O-1",
                reservation_id="O-1",
                reason="declined",
            )
        )
    )
    assert await on_hand(company, "A1") == [19, 19]


async def test_releasing_again_is_no_trouble(company: Company):
    await company.given(*BOTH, reserve_order(A1="4")).when(RELEASE).then(happened(Stock.Released))
    company.store.recorded.clear()
    again = await company.execute(RELEASE)
    assert (again.version, again.replayed) == (4, True)
    assert company.store.recorded == []


async def test_what_nobody_ever_kept_is_not_released(company: Company):
    refusal = await company.when(RELEASE).refused("inventory.reservation_not_found")
    assert refusal.data == {"reservation_id": "O-1"}


async def test_releasing_twice_under_one_key_releases_once(company: Company):
    await company.given(*BOTH, reserve_order(A1="4")).when(RELEASE).repeated()


async def test_a_shipment_reduces_the_reservation(company: Company):
    await (
        company.given(*BOTH, reserve_order(A1="4", B2="5"))
        .when(ship_order(A1="3", B2="5"))
        .then(
            happened(
                Stock.Shipped,
                sku="A1",
                quantity_change=Decimal(-3),
                value_change=Decimal("-15.00"),
                reference="O-1/1",
                reservation_id="O-1",
                order_id="O-1",
            ),
            happened(Stock.Shipped, sku="B2", value_change=Decimal("-10.00"), reference="O-1/1"),
        )
    )
    assert await on_hand(company, "A1") == [17, 16]


async def test_a_shipment_may_be_of_a_day_that_has_come_by_another_clock_only(company: Company):
    tomorrow = date(2026, 2, 11)
    shipped = ship_order(A1="3").model_copy(update={"effective_at": tomorrow})
    returned = return_order(A1="1").model_copy(update={"effective_at": tomorrow})
    history = (*BOTH, reserve_order(A1="4"))
    await company.given(*history).when(shipped).then(happened(Stock.Shipped, effective_at=tomorrow))
    company.store.recorded.clear()
    await company.when(returned).then(happened(Stock.Returned, effective_at=tomorrow))


async def test_no_more_is_shipped_than_is_reserved(company: Company):
    history = (*BOTH, reserve_order(A1="4", B2="5"))
    refusal = (
        await company.given(*history)
        .when(ship_order(A1="4", B2="5.5"))
        .refused("inventory.reservation_exceeded")
    )
    assert refusal.data == {"sku": "B2", "reservation_id": "O-1", "reserved": "5", "requested": "5.5"}
    assert await on_hand(company, "A1") == [20, 16]


async def test_shipping_twice_under_one_key_ships_once(company: Company):
    await company.given(*BOTH, reserve_order(A1="4")).when(ship_order(A1="4")).repeated()


async def test_each_shipment_comes_back_at_its_own_cost(company: Company):
    """The first was of goods at 5, the second of goods at 6 as well."""
    history = (*BOTH, reserve_order(A1="16"), ship_order(1, A1="8"), ship_order(2, A1="8"))
    await (
        company.given(*history)
        .when(return_order(2, A1="8"))
        .then(
            happened(
                Stock.Returned,
                quantity_change=Decimal(8),
                value_change=Decimal("46.00"),
                reference="O-1/2",
                reservation_id="O-1",
                order_id="O-1",
            )
        )
    )


async def test_no_more_comes_back_than_came(company: Company):
    history = (*BOTH, reserve_order(A1="4"), ship_order(A1="3"))
    scenario = company.given(*history).when(return_order(A1="4"))
    await scenario.refused("inventory.return_exceeds_delivery")
    await company.when(return_order(2, A1="1")).refused("inventory.delivery_not_found")


async def test_coming_back_twice_under_one_key_is_once(company: Company):
    history = (*BOTH, reserve_order(A1="4"), ship_order(A1="3"))
    await company.given(*history).when(return_order(A1="2")).repeated()


@pytest.mark.parametrize(
    "command",
    [reserve_order(A1="1"), RELEASE, ship_order(A1="1"), return_order(A1="1")],
    ids=topic,
)
async def test_orders_take_the_permission(company: Company, command: Command):
    await company.when(command, permissions=["inventory.stock:read"]).refused("permission_denied")


async def test_orders_that_want_the_same_skus_in_another_order_do_not_wait_for_each_other(company: Company):
    """Turns on streams are taken in one order, whatever the order of the lines."""
    import asyncio

    await company.given(*BOTH).when(receive("1")).then(happened(Stock.Received))
    wanted = [
        ReserveOrder.model_validate(
            {"order_id": f"O-{number}", "warehouse": "main", "lines": lines(**dict(pair))}
        )
        for number in range(10)
        for pair in [[("A1", "1"), ("B2", "1")][:: 1 if number % 2 else -1]]
    ]
    outcomes = await asyncio.gather(*(company.execute(command) for command in wanted), return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in outcomes) == 5
    assert await on_hand(company, "B2") == [5, 0]
    assert await on_hand(company, "A1") == [21, 16]
