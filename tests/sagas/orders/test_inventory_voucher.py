"""Every movement of goods is in the books, on its day, and the accounts say what the stock is worth."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.bus import Command
from commands.finance import ClosePeriod, PostJournalEntry, ReopenPeriod
from commands.inventory import (
    AdjustStock,
    IssueStock,
    ReserveStock,
    ReturnStock,
    ShipReservation,
    TransferStock,
)
from domain.inventory.stock import Stock
from domain.inventory.stock_events import Movement
from domain.inventory.valuation import Valuation
from domain.shared.errors import DomainError
from domain.shared.money import OutOfRange
from erp.stock_books import TYPES, Difference, SetAside, StockBooks
from eventstore.leaf import StoredEvent
from sagas.base import SagaStatus
from sagas.inventory_voucher import InventoryVoucher, voucher
from tests.inventory.shelf import booking, shelf, stock
from tests.sagas.orders.office import NORTH, Office, books, item, receive

D = Decimal


def lines(entry: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [(line["account"], line["debit"], line["credit"]) for line in entry["lines"]]


def transfer(sku: str, quantity: str, to: str = "north") -> TransferStock:
    return TransferStock.model_validate({"sku": sku, "from": "main", "to": to, "quantity": quantity})


def differences(office: Office, letters: Mapping[StoredEvent, SetAside] | None = None) -> list[Difference]:
    added = StockBooks(office.codec)
    for event in office.events():
        if event.type in TYPES:
            added.take(event)
    for event, letter in (letters or {}).items():
        added.take_letter(event.tenant, event.stream_id, event.version, letter)
    return list(added.differences())


async def last(office: Office, command: Command) -> list[dict[str, Any]]:
    """What is posted for it."""
    await office.settle()
    before = len(office.entries())
    await office.do(command)
    await office.settle()
    assert differences(office) == []
    return office.entries()[before:]


async def test_goods_that_come_in(office: Office) -> None:
    day = office.now.date() - timedelta(days=office.now.day - 1)
    (entry,) = await last(office, receive("A1", "3", "5.00", effective_at=day, reference="PO-7"))
    assert lines(entry) == [("1405", "15.00", None), ("2203", None, "15.00")]
    assert (entry["posting_date"], entry["reference"], entry["journal"]) == (
        day.isoformat(),
        "PO-7",
        "inventory",
    )
    assert entry["lines"][0]["dimensions"] == {"warehouse": "main", "sku": "A1"}


async def test_goods_that_leave_for_use(office: Office) -> None:
    (entry,) = await last(office, IssueStock(warehouse="main", sku="A1", quantity="2"))
    assert lines(entry) == [("6401", "8.00", None), ("1405", None, "8.00")]
    assert entry["reference"] == "main/A1"


@pytest.mark.parametrize(
    ("counted", "booked"),
    [
        ("9", [("6402", "4.00", None), ("1405", None, "4.00")]),
        ("12", [("1405", "8.00", None), ("6402", None, "8.00")]),
    ],
)
async def test_a_count(office: Office, counted: str, booked: list[Any]) -> None:
    command = AdjustStock(warehouse="main", sku="A1", counted_quantity=counted, reason="count")
    (entry,) = await last(office, command)
    assert lines(entry) == booked


async def test_a_count_that_finds_what_is_there(office: Office) -> None:
    command = AdjustStock(warehouse="main", sku="A1", counted_quantity="10", reason="count")
    assert await last(office, command) == []


async def test_goods_that_nobody_ordered_are_delivered_and_come_back(office: Office) -> None:
    await office.do(ReserveStock(warehouse="main", sku="A1", reservation_id="r1", quantity="3"))
    (out,) = await last(office, ShipReservation(warehouse="main", sku="A1", reservation_id="r1"))
    assert lines(out) == [("6401", "12.00", None), ("1405", None, "12.00")]
    back = ReturnStock(warehouse="main", sku="A1", reservation_id="r1", quantity="1")
    (entry,) = await last(office, back)
    assert lines(entry) == [("1405", "4.00", None), ("6401", None, "4.00")]


async def test_a_transfer_between_accounts(office: Office) -> None:
    (entry,) = await last(office, transfer("A1", "2"))
    assert lines(entry) == [(NORTH, "8.00", None), ("1405", None, "8.00")]


async def test_a_transfer_within_an_account(office: Office) -> None:
    assert await last(office, transfer("A1", "2", to="south")) == []


async def test_a_receipt_that_is_dated_back_revalues(office: Office) -> None:
    await office.do(IssueStock(warehouse="main", sku="B2", quantity="4"))
    day = office.now.date() - timedelta(days=office.now.day - 1)
    came, revalued = await last(office, receive("B2", "5", "3.25", effective_at=day))
    assert lines(came) == [("1405", "16.25", None), ("2203", None, "16.25")]
    # Moving average: what left ought to have cost 2.25 each, not 1.25.
    assert lines(revalued) == [("6401", "4.00", None), ("1405", None, "4.00")]


async def test_without_a_mapping_it_waits(empty_office: Office) -> None:
    office = empty_office
    await office.do(item("A1"), receive("A1", "1", "2.00"))
    await office.settle()
    (saga,) = await office.all(InventoryVoucher)
    assert (saga.status, saga.steps[0].code) == (SagaStatus.WAITING, "finance.account_mapping_not_set")
    (found,) = differences(office)
    assert (found.account, found.stock, found.books, found.is_explained) == ("", D("2.00"), D(0), True)
    await office.do(books()[-1])
    await office.settle()
    assert differences(office) == []
    assert office.balance("inventory") == D("2.00")


async def test_a_difference_that_a_voucher_on_its_way_explains(office: Office) -> None:
    await office.settle()
    await office.do(receive("A1", "1", "2.00"), transfer("A1", "1"))
    for found in differences(office):
        assert found.is_explained
    assert {each.account for each in differences(office)} == {"1405", NORTH}


async def test_a_difference_that_nothing_explains(office: Office) -> None:
    await office.settle()
    by_hand = PostJournalEntry.model_validate(
        {
            "posting_date": office.now.date(),
            "currency": "EUR",
            "lines": [{"account": "1405", "credit": "1.00"}, {"account": "6402", "debit": "1.00"}],
        }
    )
    await office.do(by_hand)
    (found,) = differences(office)
    assert (found.account, found.stock - found.books, found.is_explained) == ("1405", D(1), False)


async def test_a_voucher_that_was_aborted_explains_nothing(office: Office) -> None:
    await office.settle()
    await office.do(receive("A1", "1", "2.00"))
    await office.close()
    await office.settle()
    (saga,) = [each for each in await office.all(InventoryVoucher) if each.status == SagaStatus.WAITING]
    assert [each.is_explained for each in differences(office)] == [True]
    aborted = saga.editable_copy()
    aborted.abort(by="operator", reason="booked by hand", at=office.now)
    await office.store.append(
        tenant=office.tenant,
        changed=[aborted],
        reads=[],
        idempotency_key="abort",
        request_hash=b"abort",
        answer={},
        metadata={},
    )
    assert [each.is_explained for each in differences(office)] == [False]


async def test_what_is_a_dead_letter_explains_nothing(office: Office) -> None:
    await office.settle()
    await office.do(receive("A1", "1", "2.00"), receive("A1", "1", "3.00"), transfer("A1", "1"))
    came, _, left, _ = office.events()[-4:]
    parked, discarded = SetAside(8, is_parked=True), SetAside(7, is_parked=False)
    here, there = differences(office, {came: parked, left: discarded})
    assert (here.waiting, here.set_aside, here.is_explained) == (D("3.00"), (discarded, parked), False)
    assert (there.account, there.waiting, there.set_aside) == (NORTH, D(0), (discarded,))
    await office.settle()
    assert differences(office, {came: parked, left: discarded}) == []


skus = st.sampled_from(["A1", "B2"])
some = st.integers(1, 5).map(str)
days = st.integers(0, 60)
actions = st.one_of(
    st.tuples(st.just("receive"), skus, some, st.sampled_from(["1.00", "3.33", "7.77", "0.00"]), days),
    st.tuples(st.just("issue"), skus, some, days),
    st.tuples(st.just("count"), skus, some, days),
    st.tuples(st.just("transfer"), skus, some, st.sampled_from(["north", "south"])),
    st.tuples(st.just("close")),
    st.tuples(st.just("deliver"), st.integers(0, 9)),
)


async def happen(office: Office, name: str, *details: Any) -> None:
    def day(back: int) -> date:
        return office.now.date() - timedelta(days=back)

    match name, details:
        case "receive", (sku, quantity, cost, back):
            await office.do(receive(sku, quantity, cost, effective_at=day(back)))
        case "issue", (sku, quantity, back):
            await office.do(IssueStock(warehouse="main", sku=sku, quantity=quantity, effective_at=day(back)))
        case "count", (sku, quantity, back):
            counted = {"counted_quantity": quantity, "effective_at": day(back), "reason": "count"}
            await office.do(AdjustStock.model_validate({"warehouse": "main", "sku": sku, **counted}))
        case "transfer", (sku, quantity, to):
            await office.do(transfer(sku, quantity, to))
        case "close", ():
            await office.do(ClosePeriod(period="2026-01"))
        case "deliver", (number,) if office.waiting():
            waiting = office.waiting()
            await office.deliver(*waiting[number % len(waiting)])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(history=st.lists(actions, max_size=25))
def test_the_accounts_say_what_the_stock_is_worth(history: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        office = Office()
        await office.do(*books(), item("A1"), item("B2", "moving_average"))
        await office.do(receive("A1", "6", "4.00", effective_at=date(2026, 1, 2)))
        for action in history:
            with suppress(DomainError):
                await happen(office, *action)
            assert all(each.is_explained for each in differences(office))
        with suppress(DomainError):
            await office.do(ReopenPeriod(period="2026-01"))
        await office.settle()
        assert differences(office) == []
        values = [await office.stock(sku, place) for sku in ("A1", "B2") for place in ("main", "south")]
        assert office.balance("inventory") == sum(each.value for each in values)

    asyncio.run(run())


BOOKED: dict[str, type[Any]] = {each.TOPIC: each for each in InventoryVoucher.STARTS}
"""As they are read from the log, by their names."""

dear_actions = st.one_of(
    st.tuples(
        st.just("receive"),
        st.integers(1, 5),
        st.sampled_from(["999999999999999.99", "400000000000000.01", "0.01", "0.00"]),
    ),
    st.tuples(st.sampled_from(["issue", "count", "send", "ship", "take back"]), st.integers(1, 5)),
)


def asked(kept: Stock, other: Stock, valuation: Valuation, day: int, action: tuple[Any, ...]) -> None:
    name, quantity = action[0], D(action[1])
    here, there = shelf(valuation), shelf(valuation, warehouse="annex")
    booked = booking(kept, day, "R")
    match name:
        case "receive":
            kept.receive(here, booked, quantity, D(action[2]))
        case "issue":
            kept.issue(here, booked, quantity)
        case "count":
            kept.count(here, booked, quantity, "count")
        case "send":
            kept.transfer(other, (here, there), (booked, booking(other, day)), quantity, UUID(int=1))
        case "ship":
            kept.reserve(here, "R", quantity, order_id=None, expires_at=None)
            kept.ship(here, booked, "R")
        case "take back":
            kept.take_back(here, booked, quantity)


@given(
    valuation=st.sampled_from(Valuation),
    history=st.lists(st.tuples(st.booleans(), st.integers(1, 5), dear_actions), max_size=20),
)
def test_whatever_moves_has_a_voucher(
    valuation: Valuation, history: list[tuple[bool, int, tuple[Any, ...]]]
) -> None:
    """However dear, and on whatever day; and being dear keeps nothing from leaving."""
    stocks = [stock(), stock()]
    for is_other, day, action in history:
        # What is refused changes nothing.
        tried = [each.editable_copy() for each in stocks]
        for each, before in zip(tried, stocks, strict=True):
            each.pending_events.extend(before.pending_events)
        try:
            asked(tried[is_other], tried[not is_other], valuation, day, action)
        except OutOfRange:
            assert action[0] not in {"issue", "ship"}
            continue
        except DomainError:
            continue
        for each, before in zip(tried, stocks, strict=True):
            for event in list(each.pending_events)[len(before.pending_events) :]:
                if isinstance(event, Movement) and event.TOPIC in BOOKED and event.value_change:
                    voucher(BOOKED[event.TOPIC](**vars(event)))
        stocks = tried
