"""Goods that move, through bus and store."""

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from commands.bus import Command
from commands.finance import ClosePeriod
from commands.inventory import AdjustStock
from domain.inventory.stock import Stock, stock_id
from tests.dsl import Company, happened
from tests.inventory.history import STOCKED, WAREHOUSE, YEAR_2026, at, issue, item, receive, transfer
from tests.inventory.shelf import layers

pytestmark = pytest.mark.integration

TODAY = date(2026, 2, 10)


def adjust(counted: str, day: str | None = None) -> AdjustStock:
    told = {**at(), "counted_quantity": counted, "reason": "broken", "effective_at": day}
    return AdjustStock.model_validate(told)


ALL: list[Command] = [receive("1"), issue("1"), adjust("1"), transfer("1")]


def topic(command: Command) -> str:
    return command.TOPIC


async def test_goods_are_received(company: Company):
    answer = (
        await company.given(*WAREHOUSE)
        .when(receive("2.50", "5.01", "2026-01-31", reference="PO-7"))
        .then(
            happened(
                Stock.Received,
                warehouse="main",
                sku="A1",
                currency="EUR",
                quantity_change=Decimal("2.5"),
                value_change=Decimal("12.52"),
                layers=layers((1, "2.5", "12.52")),
                effective_at=date(2026, 1, 31),
                reference="PO-7",
                on_hand_after=Decimal("2.5"),
                value_after=Decimal("12.52"),
                unit_cost=Decimal("5.01"),
            )
        )
    )
    assert answer.id == stock_id(company.tenant, "main", "A1")
    assert answer.version == 1


async def test_goods_are_issued_today_unless_told_otherwise(company: Company):
    await (
        company.given(*STOCKED)
        .when(issue("12", reference="W-1"))
        .then(
            happened(
                Stock.Issued,
                quantity_change=Decimal(-12),
                value_change=Decimal("-62.00"),
                layers=layers((1, "10", "50.00"), (2, "2", "12.00")),
                effective_at=TODAY,
                reference="W-1",
                on_hand_after=Decimal(8),
                value_after=Decimal("48.00"),
            ),
            happened(Stock.ReorderPointReached, available=Decimal(8), reorder_point=Decimal(10)),
        )
    )


async def test_no_more_is_issued_than_is_available(company: Company):
    refusal = await company.given(*STOCKED).when(issue("20.5")).refused("inventory.insufficient_stock")
    assert refusal.data == {"warehouse": "main", "sku": "A1", "available": "20", "requested": "20.5"}


async def test_what_was_counted_is_what_there_is(company: Company):
    await (
        company.given(*STOCKED)
        .when(adjust("19"))
        .then(
            happened(
                Stock.Counted,
                quantity_change=Decimal(-1),
                value_change=Decimal("-5.00"),
                counted_quantity=Decimal(19),
                reason="broken",
            )
        )
    )


async def test_a_count_that_contradicts_what_left_since_is_refused(company: Company):
    await (
        company.given(*WAREHOUSE, receive("10", day="2026-02-01"), issue("6", day="2026-02-05"))
        .when(adjust("5", "2026-02-03"))
        .refused("inventory.insufficient_stock")
    )


async def test_a_transfer_changes_both_warehouses_at_once(company: Company):
    answer = (
        await company.given(*STOCKED)
        .when(transfer("4", reference="T-1"))
        .then(
            happened(
                Stock.TransferredOut,
                warehouse="main",
                counterpart="annex",
                quantity_change=Decimal(-4),
                value_change=Decimal("-20.00"),
                reference="T-1",
            ),
            happened(
                Stock.TransferredIn,
                warehouse="annex",
                counterpart="main",
                quantity_change=Decimal(4),
                value_change=Decimal("20.00"),
                layers=layers((1, "4", "20.00")),
            ),
        )
    )
    assert (answer.id, answer.version) == (stock_id(company.tenant, "main", "A1"), 3)
    there = await company.load(Stock, stock_id(company.tenant, "annex", "A1"))
    (recorded,) = {each.transfer_id for each in company.store.recorded}  # type: ignore[attr-defined]
    assert answer.extra == {"transfer_id": str(recorded)}
    assert there.on_hand == 4
    assert UUID(answer.extra["transfer_id"]) not in {answer.id, there.id}


async def test_a_transfer_repeated_is_told_its_own_id_again(company: Company):
    again = await company.given(*STOCKED).when(transfer("4")).repeated()
    assert set(again.extra) == {"transfer_id"}


async def test_nothing_is_transferred_that_is_not_available(company: Company):
    await company.given(*STOCKED).when(transfer("21")).refused("inventory.insufficient_stock")


async def test_a_transfer_goes_to_another_warehouse(company: Company):
    await company.given(*STOCKED).when(transfer("1", to="main")).refused("inventory.same_warehouse")


async def test_a_late_receipt_is_recorded_now_and_what_it_changes_too(company: Company):
    await (
        company.given(*WAREHOUSE, receive("10", "5.00", "2026-01-10"), issue("6", "2026-01-20"))
        .when(receive("10", "4.00", "2026-01-05", reference="late"))
        .then(
            happened(Stock.Received, effective_at=date(2026, 1, 5), value_change=Decimal("40.00")),
            happened(
                Stock.Revalued,
                quantity_change=Decimal(0),
                value_change=Decimal("6.00"),
                layers=(),
                layers_after=layers((2, "4", "16.00"), (1, "10", "50.00")),
                effective_at=TODAY,
                reference="late",
                on_hand_after=Decimal(14),
                value_after=Decimal("66.00"),
                cause="inventory.stock.received",
            ),
        )
    )


@pytest.mark.parametrize("command", ALL, ids=topic)
async def test_nothing_moves_of_what_is_no_item(company: Company, command: Command):
    refusal = await company.given(YEAR_2026, item("B2")).when(command).refused("inventory.item_not_found")
    assert refusal.data == {"sku": "A1"}


@pytest.mark.parametrize(
    "command",
    [
        receive("1", day="2026-01-31"),
        issue("1", "2026-01-31"),
        adjust("1", "2026-01-31"),
        transfer("1", "2026-01-31"),
    ],
    ids=topic,
)
async def test_nothing_moves_in_a_closed_period(company: Company, command: Command):
    await (
        company.given(*STOCKED, ClosePeriod(period="2026-01")).when(command).refused("finance.period_closed")
    )


async def test_nothing_moves_without_a_fiscal_year(company: Company):
    await company.given(item()).when(receive("1")).refused("finance.no_period")


async def test_without_an_open_day_from_today_on_the_last_open_one_is_taken(company: Company):
    late = receive("10", "4.00", "2026-12-05")
    history = (*WAREHOUSE, receive("10", "5.00", "2026-12-10"), issue("6", "2026-12-20"))
    company.now = company.now.replace(year=2027)
    await (
        company.given(*history)
        .when(late)
        .then(
            happened(Stock.Received, effective_at=date(2026, 12, 5)),
            happened(Stock.Revalued, effective_at=date(2026, 12, 31)),
        )
    )


@pytest.mark.parametrize("command", ALL, ids=topic)
async def test_what_moves_twice_under_one_key_moves_once(company: Company, command: Command):
    await company.given(*STOCKED).when(command).repeated()


@pytest.mark.parametrize("command", ALL, ids=topic)
async def test_moving_takes_the_permission(company: Company, command: Command):
    permissions = ["inventory.stock:read", "inventory.items:write"]
    await company.given(*STOCKED).when(command, permissions=permissions).refused("permission_denied")


async def test_if_match_is_about_the_stock(company: Company):
    await company.given(*STOCKED).when(issue("1"), expected_version=1).refused("version_mismatch")


@pytest.mark.parametrize(
    "command",
    [
        receive("1", day="2026-02-11"),
        issue("1", "2026-02-11"),
        adjust("1", "2026-02-11"),
        transfer("1", "2026-02-11"),
    ],
    ids=topic,
)
async def test_nothing_moves_on_a_day_that_is_still_to_come(company: Company, command: Command):
    """Or what is not there yet would be sold."""
    refusal = await company.given(*STOCKED).when(command).refused("inventory.day_in_future")
    assert refusal.data == {"date": "2026-02-11", "today": "2026-02-10"}
