"""Goods that are promised, delivered and come back, through bus and store."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from commands.bus import Command
from commands.finance import ClosePeriod
from commands.inventory import (
    ExpireReservation,
    ReleaseReservation,
    ReturnStock,
    ShipReservation,
)
from domain.inventory.stock import Stock, stock_id
from tests.dsl import Company, happened
from tests.inventory.history import STOCKED, YEAR_2026, at, issue, item, receive, reserve

pytestmark = pytest.mark.integration

RELEASE = ReleaseReservation(warehouse="main", sku="A1", reservation_id="R-1")
EXPIRE = ExpireReservation(warehouse="main", sku="A1", reservation_id="R-1")
SHIP = ShipReservation(warehouse="main", sku="A1", reservation_id="R-1")


def give_back(quantity: str, **changes: str) -> ReturnStock:
    return ReturnStock.model_validate({**at(), "reservation_id": "R-1", "quantity": quantity, **changes})


ALL: list[Command] = [RELEASE, EXPIRE, SHIP, give_back("1")]


def topic(command: Command) -> str:
    return command.TOPIC


async def test_goods_are_reserved(company: Company):
    answer = (
        await company.given(*STOCKED)
        .when(reserve("4", order_id="O-1", expires_in_s=900))
        .then(
            happened(
                Stock.Reserved,
                warehouse="main",
                sku="A1",
                reservation_id="R-1",
                quantity=Decimal(4),
                order_id="O-1",
                expires_at=datetime(2026, 2, 10, 12, 15, tzinfo=UTC),
            )
        )
    )
    stock = await company.load(Stock, answer.id)
    assert [stock.on_hand, stock.reserved, stock.available] == [20, 4, 16]


@pytest.mark.parametrize("since", [receive("1"), SHIP], ids=topic)
async def test_the_same_reservation_is_the_same_answer(company: Company, since: Command):
    """Also after the stock went on, and when the first one was the last straw."""
    first = (
        await company.given(*STOCKED)
        .when(reserve("12"))
        .then(happened(Stock.Reserved, expires_at=None), happened(Stock.ReorderPointReached))
    )
    await company.execute(since)
    company.store.recorded.clear()
    again = await company.execute(reserve("12.0"))
    assert company.store.recorded == []
    assert again.replayed
    assert (again.id, again.version, again.position, again.recorded_at) == (
        first.id,
        first.version,
        first.position,
        first.recorded_at,
    )


@pytest.mark.parametrize("since", [(), (SHIP,)], ids=["reserved", "shipped"])
async def test_another_reservation_has_another_id(company: Company, since: tuple[Command, ...]):
    history = (*STOCKED, reserve("4"), *since)
    await company.given(*history).when(reserve("5")).refused("inventory.reservation_exists")


async def test_no_more_is_reserved_than_is_available(company: Company):
    history = (*STOCKED, reserve("15", "R-0"))
    refusal = await company.given(*history).when(reserve("6")).refused("inventory.insufficient_stock")
    assert refusal.data["available"] == "5"


async def test_nothing_is_reserved_of_what_is_no_item(company: Company):
    await company.given(YEAR_2026).when(reserve("1")).refused("inventory.item_not_found")


async def test_reserving_twice_under_one_key_reserves_once(company: Company):
    await company.given(*STOCKED).when(reserve("1")).repeated()


async def test_a_reservation_is_released(company: Company):
    await (
        company.given(*STOCKED, reserve("4", order_id="O-1"))
        .when(RELEASE.model_copy(update={"reason": "cancelled"}))
        .then(
            happened(
                Stock.Released,
                warehouse="main",
                sku="A1",
                reservation_id="R-1",
                quantity=Decimal(4),
                order_id="O-1",
                reason="cancelled",
            )
        )
    )


async def test_a_reservation_expires(company: Company):
    scenario = company.given(*STOCKED, reserve("4", expires_in_s=60)).when(EXPIRE)
    await scenario.refused("inventory.reservation_not_expired")
    company.now += timedelta(seconds=60)
    await company.when(EXPIRE).then(
        happened(Stock.ReservationExpired, reservation_id="R-1", quantity=Decimal(4), reason="expired")
    )


async def test_expiring_twice_under_one_key_expires_once(company: Company):
    await company.given(*STOCKED, reserve("4", expires_in_s=1)).when(EXPIRE).repeated()


async def test_a_reservation_is_shipped(company: Company):
    await (
        company.given(*STOCKED, reserve("4", order_id="O-1"))
        .when(SHIP)
        .then(
            happened(
                Stock.Shipped,
                quantity_change=Decimal(-4),
                value_change=Decimal("-20.00"),
                reference="R-1",
                reservation_id="R-1",
                order_id="O-1",
            )
        )
    )


async def test_what_is_not_there_is_not_shipped(company: Company):
    await (
        company.given(*STOCKED, reserve("4"))
        .when(SHIP.model_copy(update={"warehouse": "annex"}))
        .refused("inventory.reservation_not_found")
    )


async def test_what_was_shipped_comes_back(company: Company):
    await (
        company.given(*STOCKED, issue("8"), reserve("4", order_id="O-1"), SHIP)
        .when(give_back("2"))
        .then(
            happened(
                Stock.Returned,
                quantity_change=Decimal(2),
                value_change=Decimal("11.00"),
                reference="R-1",
                reservation_id="R-1",
                order_id="O-1",
            )
        )
    )


async def test_no_more_comes_back_than_was_shipped(company: Company):
    await (
        company.given(*STOCKED, reserve("4"), SHIP, give_back("1"))
        .when(give_back("4"))
        .refused("inventory.return_exceeds_delivery")
    )


async def test_nothing_comes_back_before_it_was_shipped(company: Company):
    history = (*STOCKED, reserve("4"), SHIP)
    early = give_back("1", effective_at="2026-02-09")
    refusal = await company.given(*history).when(early).refused("inventory.day_too_early")
    assert refusal.data == {"date": "2026-02-09", "first": "2026-02-10"}


async def test_what_was_not_shipped_does_not_come_back(company: Company):
    await company.given(*STOCKED, reserve("4")).when(give_back("1")).refused("inventory.delivery_not_found")


async def test_an_old_delivery_is_found_in_the_log(company: Company, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("domain.inventory.stock_events.DELIVERIES_REMEMBERED_MAX", 1)
    another = SHIP.model_copy(update={"reservation_id": "R-2"})
    history = (*STOCKED, reserve("4"), SHIP, reserve("4", "R-2"), another, give_back("1"))
    await company.given(*history).when(give_back("4")).refused("inventory.return_exceeds_delivery")
    await company.when(give_back("3")).then(happened(Stock.Returned, value_change=Decimal("15.00")))
    stock = await company.load(Stock, stock_id(company.tenant, "main", "A1"))
    assert [each.reference for each in stock.deliveries] == ["R-2"]


@pytest.mark.parametrize("command", ALL[:3], ids=topic)
async def test_there_has_to_be_a_reservation(company: Company, command: Command):
    await company.given(*STOCKED).when(command).refused("inventory.reservation_not_found")


@pytest.mark.parametrize(
    "command",
    [
        SHIP.model_copy(update={"effective_at": datetime(2026, 1, 31, tzinfo=UTC).date()}),
        give_back("1", effective_at="2026-01-31"),
    ],
    ids=topic,
)
async def test_nothing_is_delivered_or_comes_back_in_a_closed_period(company: Company, command: Command):
    history = (*STOCKED, reserve("4"), ClosePeriod(period="2026-01"))
    await company.given(*history).when(command).refused("finance.period_closed")


@pytest.mark.parametrize(
    "command",
    [
        SHIP.model_copy(update={"effective_at": datetime(2026, 2, 11, tzinfo=UTC).date()}),
        give_back("1", effective_at="2026-02-11"),
    ],
    ids=topic,
)
async def test_nothing_is_delivered_or_comes_back_on_a_day_that_is_still_to_come(
    company: Company, command: Command
):
    await company.given(*STOCKED, reserve("4")).when(command).refused("inventory.day_in_future")


@pytest.mark.parametrize("command", [RELEASE, SHIP], ids=topic)
async def test_what_happens_twice_under_one_key_happens_once(company: Company, command: Command):
    await company.given(*STOCKED, reserve("4")).when(command).repeated()


async def test_what_comes_back_twice_under_one_key_comes_back_once(company: Company):
    await company.given(*STOCKED, reserve("4"), SHIP).when(give_back("1")).repeated()


@pytest.mark.parametrize("command", [*ALL, reserve("1")], ids=topic)
async def test_promising_takes_the_permission(company: Company, command: Command):
    await (
        company.given(*STOCKED)
        .when(command, permissions=["inventory.stock:read"])
        .refused("permission_denied")
    )


async def test_an_item_is_promised_in_one_warehouse(company: Company):
    history = (*STOCKED, item("B2"), reserve("4"))
    await (
        company.given(*history).when(reserve("1", warehouse="annex")).refused("inventory.insufficient_stock")
    )
