"""Order to cash: the main path, and every way back."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from commands.bus import Answer, Command, Context
from commands.finance import CloseAccount
from commands.inventory import AdjustStock, ReleaseReservation
from commands.payments import AuthorisePayment, CapturePayment, RefundPayment, VoidPayment
from commands.sales import (
    AddOrderLine,
    CancelOrder,
    PlaceOrder,
    RemoveOrderLine,
    ReturnOrder,
    ShipOrder,
)
from domain.payments.operation import OperationKind
from domain.payments.payment import Payment, payment_id
from domain.payments.state import PaymentStatus
from domain.sales.order import Order, OrderStatus
from sagas.base import SagaStatus
from sagas.order_to_cash import OrderToCash
from tests.sagas.orders.office import Office, order, receive
from tests.sagas.orders.teller import Mood

D = Decimal
ZERO = D(0)
# Three A1 at 10.00, gold: 30.00 less 3.00, tax 5.40, shipping 10.00.
THREE = order(("A1", "3"))
TOTAL, NET, TAX, SHIPPING = D("42.40"), D("27.00"), D("5.40"), D("10.00")
SECURED = ["reserve done", "authorise done", "confirm done"]
WEEK = timedelta(days=7)


async def placed(office: Office, command: PlaceOrder = THREE) -> UUID:
    """Placed, and gone as far as it goes by itself."""
    order_id = (await office.do(command)).id
    await office.settle()
    return order_id


async def shipped(office: Office, *lines: dict[str, str]) -> UUID:
    order_id = await placed(office)
    await ship(office, order_id, *lines)
    return order_id


async def ship(office: Office, order_id: UUID, *lines: dict[str, str]) -> None:
    await office.do(ShipOrder.model_validate({"id": order_id, "lines": lines or None}))
    await office.settle()


async def status(office: Office, order_id: UUID) -> tuple[OrderStatus, str | None]:
    found = await office.load(Order, order_id)
    return found.status, found.cancel_code


async def ended(office: Office, order_id: UUID) -> str | None:
    saga = await office.saga(order_id)
    assert saga.status == SagaStatus.ENDED, await office.steps(order_id)
    assert not saga.timers
    outcome: str | None = saga.ended
    return outcome


async def nothing_left(office: Office) -> None:
    """Nothing is promised or held, and the books are as if nothing had been."""
    assert [(await office.stock(sku)).reserved for sku in ("A1", "B2")] == [0, 0]
    assert (office.teller.held(office.now), office.teller.taken) == (ZERO, ZERO)
    assert all(office.balance(part) == 0 for part in ("receivable", "revenue", "tax", "cash"))


async def in_books(office: Office) -> None:
    stocks = [await office.stock(sku) for sku in ("A1", "B2")]
    assert office.balance("inventory") == sum(each.value for each in stocks)


async def test_from_the_order_to_the_money(office: Office) -> None:
    order_id = await placed(office)
    assert await status(office, order_id) == (OrderStatus.CONFIRMED, None)
    assert await office.steps(order_id) == SECURED
    assert (await office.stock("A1")).reserved == 3
    assert office.teller.held(office.now) == TOTAL
    await ship(office, order_id)
    assert await status(office, order_id) == (OrderStatus.COMPLETED, None)
    assert (await office.steps(order_id))[3:] == [
        "ship done",
        "capture done",
        "post_sale done",
        "post_settlement done",
    ]
    assert await ended(office, order_id) == "completed"
    parts = ("receivable", "cash", "revenue", "tax", "shipping_revenue", "cost_of_goods_sold")
    assert [office.balance(part) for part in parts] == [0, TOTAL, -NET, -TAX, -SHIPPING, D("12.00")]
    assert (office.teller.taken, office.teller.held(office.now)) == (TOTAL, ZERO)
    stock = await office.stock("A1")
    assert (stock.on_hand, stock.reserved, stock.value) == (D(7), ZERO, D("28.00"))
    await in_books(office)


async def test_in_parts(office: Office) -> None:
    order_id = await shipped(office, {"sku": "A1", "quantity": "1"})
    assert office.teller.held(office.now) > 0
    assert office.teller.taken == -office.balance("revenue") - office.balance("tax") - office.balance(
        "shipping_revenue"
    )
    await ship(office, order_id, {"sku": "A1", "quantity": "2"})
    assert await ended(office, order_id) == "completed"
    assert (await office.steps(order_id)).count("capture done") == 2
    assert (office.balance("cash"), office.balance("receivable")) == (TOTAL, ZERO)


async def test_in_parts_by_a_gateway_that_takes_once(office: Office) -> None:
    office.teller.several_captures = False
    order_id = await shipped(office, {"sku": "A1", "quantity": "1"})
    await ship(office, order_id)
    assert await ended(office, order_id) == "completed"
    assert (await office.steps(order_id)).count("authorise done") == 2
    assert (office.teller.taken, office.balance("cash")) == (TOTAL, TOTAL)


async def test_not_enough_of_one_of_two(office: Office) -> None:
    order_id = await placed(office, order(("A1", "3"), ("B2", "6")))
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "inventory.insufficient_stock")
    assert "B2" in (await office.load(Order, order_id)).cancel_reason
    assert await ended(office, order_id) == "cancelled"
    await nothing_left(office)


async def test_a_declined_card(office: Office) -> None:
    order_id = await placed(office, order(("A1", "3"), token="tok_declined"))
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "payments.declined")
    assert await office.steps(order_id) == [
        "reserve done",
        "authorise done",
        "confirm dropped",
        "cancel done",
        "release done",
    ]
    await nothing_left(office)


@pytest.mark.parametrize("mood", [Mood.SILENT, Mood.MUTE])
async def test_a_gateway_that_does_not_answer(office: Office, mood: Mood) -> None:
    office.teller.mood = mood
    order_id = await placed(office)
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "payments.timed_out")
    saga = await office.saga(order_id)
    assert saga.status == SagaStatus.WAITING
    assert (await office.steps(order_id))[-1] == "void gateway_timeout"
    assert (await office.stock("A1")).reserved == 0
    office.teller.mood = Mood.FINE
    await office.settle()
    assert await ended(office, order_id) == "cancelled"
    await nothing_left(office)


async def test_a_gateway_that_is_gone_for_a_while(office: Office) -> None:
    office.teller.mood = Mood.DOWN
    order_id = await placed(office)
    assert await status(office, order_id) == (OrderStatus.PENDING, None)
    office.teller.mood = Mood.FINE
    await office.settle()
    assert await status(office, order_id) == (OrderStatus.CONFIRMED, None)
    assert set((await office.saga(order_id)).timers) == {"authorisation"}


async def test_a_gateway_that_is_gone_too_long(office: Office) -> None:
    office.teller.mood = Mood.DOWN
    order_id = await placed(office)
    office.now += timedelta(hours=2)
    await office.settle()
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "payments.timed_out")
    office.teller.mood = Mood.FINE
    await office.settle()
    assert await ended(office, order_id) == "cancelled"
    await nothing_left(office)


async def test_an_order_that_changes(office: Office) -> None:
    order_id = await office_with_down_gateway(office)
    line = {"sku": "B2", "name": "B2", "quantity": "2", "unit_price": "5.00"}
    await office.do(AddOrderLine.model_validate({"id": order_id, **line}))
    office.teller.mood = Mood.FINE
    await office.settle()
    found = await office.load(Order, order_id)
    assert (found.status, found.revision) == (OrderStatus.CONFIRMED, 2)
    assert [(await office.stock(sku)).reserved for sku in ("A1", "B2")] == [3, 2]
    assert office.teller.held(office.now) == found.pricing.total
    assert {"void done", "release done"} <= set(await office.steps(order_id))


async def test_an_order_that_changes_while_nobody_knows_what_the_gateway_did(office: Office) -> None:
    order_id = (await office.do(THREE)).id
    office.teller.mood = Mood.SILENT
    (placed_event,) = [each for each in office.waiting() if each[0] is OrderToCash]
    await office.deliver(*placed_event)
    office.teller.mood = Mood.DOWN
    line = {"sku": "B2", "name": "B2", "quantity": "2", "unit_price": "5.00"}
    await office.do(AddOrderLine.model_validate({"id": order_id, **line}))
    await office.settle()
    assert office.teller.held(office.now) == TOTAL
    office.teller.mood = Mood.FINE
    await office.settle()
    found = await office.load(Order, order_id)
    assert (found.status, found.revision) == (OrderStatus.CONFIRMED, 2)
    assert "authorise payments.payment_exists" in await office.steps(order_id)
    assert office.teller.held(office.now) == found.pricing.total


async def office_with_down_gateway(office: Office) -> UUID:
    """An order that stays pending, because money is not to be had for now."""
    office.teller.mood = Mood.DOWN
    return await placed(office)


async def test_a_line_that_is_not_to_be_had_is_taken_out(office: Office) -> None:
    order_id = (await office.do(order(("A1", "3"), ("B2", "6")))).id
    await office.do(RemoveOrderLine(id=order_id, sku="B2"))
    await office.settle()
    # Whoever asks first is told first: the order as it was placed could not be had.
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "inventory.insufficient_stock")
    await nothing_left(office)


@pytest.mark.parametrize("is_confirmed", [False, True])
async def test_a_cancelled_order(office: Office, is_confirmed: bool) -> None:
    order_id = await placed(office) if is_confirmed else await office_with_down_gateway(office)
    await office.do(CancelOrder(id=order_id, reason="changed my mind"))
    office.teller.mood = Mood.FINE
    await office.settle()
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "customer")
    assert await ended(office, order_id) == "cancelled"
    await nothing_left(office)


async def test_a_cancelled_order_of_which_a_cashier_took_money(office: Office) -> None:
    order_id = await placed(office)
    payment = payment_id(office.tenant, order_id, 1)
    await office.do(CapturePayment(id=payment, amount="5.00"), CancelOrder(id=order_id, reason="never mind"))
    await office.settle()
    assert {"refund done", "void done"} <= set(await office.steps(order_id))
    assert await ended(office, order_id) == "cancelled"
    await nothing_left(office)


async def test_a_return(office: Office) -> None:
    order_id = await shipped(office)
    await office.do(receive("A1", "1", "9.00"), ReturnOrder(id=order_id, reason="did not fit"))
    await office.settle()
    assert (await office.steps(order_id))[-4:] == [
        "return done",
        "refund done",
        "post_return done",
        "post_refund done",
    ]
    assert await ended(office, order_id) == "returned"
    assert (office.teller.taken, office.balance("cash")) == (SHIPPING, SHIPPING)
    gone = ("receivable", "revenue", "tax", "cost_of_goods_sold")
    assert [office.balance(part) for part in gone] == [0, 0, 0, 0]
    assert (await office.stock("A1")).value == D("49.00")
    await in_books(office)


async def test_a_return_of_what_had_left_of_an_order(office: Office) -> None:
    order_id = await shipped(office, {"sku": "A1", "quantity": "1"})
    await office.do(ReturnOrder(id=order_id, reason="too late"))
    await office.settle()
    assert await ended(office, order_id) == "returned"
    stock = await office.stock("A1")
    assert (stock.on_hand, stock.reserved) == (D(10), ZERO)
    assert office.teller.held(office.now) == 0
    assert office.balance("receivable") == 0
    assert office.balance("cash") == -office.balance("shipping_revenue") > 0


async def test_a_refund_that_the_gateway_refuses(office: Office) -> None:
    order_id = await shipped(office)
    office.teller.refuses = {OperationKind.REFUND}
    await office.do(ReturnOrder(id=order_id, reason="did not fit"))
    await office.settle()
    assert await ended(office, order_id) == "returned, not refunded"
    # What the customer is to have stays in the books.
    assert office.balance("receivable") == -(TOTAL - SHIPPING)


async def test_a_goodwill_refund(office: Office) -> None:
    order_id = await shipped(office)
    payment = payment_id(office.tenant, order_id, 1)
    await office.do(RefundPayment(id=payment, amount="5.00", reason="goodwill"))
    await office.settle()
    assert (office.balance("cash"), office.balance("receivable")) == (TOTAL - 5, D(5))
    await office.do(ReturnOrder(id=order_id))
    await office.settle()
    assert (office.balance("cash"), office.balance("receivable")) == (SHIPPING, ZERO)


async def test_an_authorisation_that_runs_out_is_had_again_once(office: Office) -> None:
    order_id = await placed(office)
    office.now += WEEK
    await office.settle()
    assert await status(office, order_id) == (OrderStatus.CONFIRMED, None)
    assert (await office.steps(order_id))[3:] == ["expire done", "authorise done"]
    assert office.teller.held(office.now) == TOTAL
    office.now += WEEK
    await office.settle()
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "payments.authorisation_expired")
    assert await ended(office, order_id) == "cancelled"
    await nothing_left(office)


async def test_an_authorisation_that_runs_out_and_is_not_had_again(office: Office) -> None:
    order_id = await placed(office)
    office.teller.refuses = {OperationKind.AUTHORISE}
    office.now += WEEK
    await office.settle()
    assert await status(office, order_id) == (OrderStatus.CANCELLED, "payments.declined")
    await nothing_left(office)


async def test_a_hold_that_a_cashier_let_go(office: Office) -> None:
    order_id = await placed(office)
    await office.do(VoidPayment(id=payment_id(office.tenant, order_id, 1)))
    await ship(office, order_id)
    assert await ended(office, order_id) == "completed"
    assert (await office.steps(order_id)).count("authorise done") == 2
    assert office.balance("cash") == TOTAL


@pytest.mark.parametrize("refused", [{OperationKind.CAPTURE}, {OperationKind.CAPTURE, OperationKind.VOID}])
async def test_money_that_cannot_be_had_stays_owed(office: Office, refused: set[OperationKind]) -> None:
    order_id = await placed(office)
    office.teller.refuses = refused
    await ship(office, order_id)
    office.now += WEEK
    await office.settle()
    assert await ended(office, order_id) == "completed, unpaid"
    assert (office.balance("receivable"), office.teller.held(office.now)) == (TOTAL, ZERO)


async def test_what_leaves_later_is_asked_for_whatever_came_of_it_before(office: Office) -> None:
    order_id = await shipped(office, {"sku": "A1", "quantity": "1"})
    for _ in range(2):
        office.now += WEEK
        await office.settle()
    assert office.balance("cash") < TOTAL
    await ship(office, order_id)
    assert await ended(office, order_id) == "completed"
    assert (office.balance("cash"), office.balance("receivable")) == (TOTAL, ZERO)


async def hear_first(office: Office, event: type[Any]) -> None:
    """An event of one stream overtakes those of the others."""
    waiting = [stored for saga, stored in office.waiting() if saga is OrderToCash]
    (found,) = [stored for stored in waiting if stored.type == event.TOPIC]
    await office.deliver(OrderToCash, found)
    await office.settle()


@pytest.mark.parametrize("amount", ["42.40", "20.00"])
async def test_what_a_cashier_took_is_not_taken_again(office: Office, amount: str) -> None:
    """Though the process hears of the shipment first."""
    order_id = await placed(office)
    await office.do(CapturePayment(id=payment_id(office.tenant, order_id, 1), amount=amount))
    await office.do(ShipOrder(id=order_id))
    await hear_first(office, Order.Shipped)
    assert await ended(office, order_id) == "completed"
    assert (office.balance("cash"), office.balance("receivable")) == (TOTAL, ZERO)
    assert office.teller.taken == TOTAL
    assert len(await office.all(Payment)) == 1


@pytest.mark.parametrize("amount", ["20.00", "5.00", "42.40"])
async def test_what_a_cashier_gave_back_is_not_given_back_again(office: Office, amount: str) -> None:
    """Though the process hears of the return first."""
    order_id = await shipped(office)
    await office.do(
        RefundPayment(id=payment_id(office.tenant, order_id, 1), amount=amount, reason="goodwill")
    )
    await office.do(ReturnOrder(id=order_id))
    await hear_first(office, Order.Returned)
    assert await ended(office, order_id) == "returned"
    assert office.teller.taken == office.balance("cash") == TOTAL - max(D(amount), TOTAL - SHIPPING)


async def test_a_hold_that_a_cashier_has_taken_is_not_lost_when_it_runs_out(office: Office) -> None:
    order_id = await placed(office)
    office.now += WEEK - timedelta(minutes=1)
    await office.do(CapturePayment(id=payment_id(office.tenant, order_id, 1), amount="42.40"))
    office.now += timedelta(minutes=2)
    for timer in office.timers.due():
        await office.wake(timer)
    await office.settle()
    assert (await office.saga(order_id)).steps[-2].code == "payments.nothing_held"
    await ship(office, order_id)
    assert await ended(office, order_id) == "completed"
    assert office.teller.taken == TOTAL
    assert len(await office.all(Payment)) == 1


async def test_a_refund_that_the_gateway_refused_and_a_person_made(office: Office) -> None:
    order_id = await shipped(office)
    office.teller.refuses = {OperationKind.REFUND}
    await office.do(ReturnOrder(id=order_id))
    await office.settle()
    assert await ended(office, order_id) == "returned, not refunded"
    office.teller.refuses = set()
    await office.do(
        RefundPayment(id=payment_id(office.tenant, order_id, 1), amount="10.00", reason="by hand")
    )
    await office.settle()
    # What a person can do, the process can again.
    assert await ended(office, order_id) == "returned"
    assert office.teller.taken == office.balance("cash") == SHIPPING


async def test_an_attempt_that_a_cashier_made(office: Office) -> None:
    order_id = (await office.do(THREE)).id
    by_hand: dict[str, Any] = {"order_id": order_id, "amount": "7.00", "currency": "EUR"}
    made = await office.do(AuthorisePayment.model_validate({**by_hand, "method": "card", "token": "tok_ok"}))
    await office.settle()
    found = await office.load(Order, order_id)
    assert found.status is OrderStatus.CONFIRMED
    assert found.payment_id == payment_id(office.tenant, order_id, 2)
    assert (await office.load(Payment, made.id)).status is PaymentStatus.AUTHORISED


async def test_goods_that_the_stock_does_not_have_leave_when_it_was_put_right(office: Office) -> None:
    order_id = await placed(office)
    await office.do(AdjustStock(warehouse="main", sku="A1", counted_quantity="1", reason="theft"))
    await ship(office, order_id)
    waiting = await office.saga(order_id)
    assert waiting.status == SagaStatus.WAITING
    assert "ship inventory.insufficient_stock" in await office.steps(order_id)
    assert office.balance("cash") == TOTAL
    # However long it takes, nothing more is to be told of it.
    office.now += timedelta(hours=5)
    await office.settle()
    assert (await office.saga(order_id)).version == waiting.version
    await office.do(receive("A1", "5", "4.00"))
    await office.settle()
    assert await ended(office, order_id) == "completed"
    assert (await office.stock("A1")).on_hand == 3
    await in_books(office)


async def test_a_reservation_that_somebody_released(office: Office) -> None:
    order_id = await placed(office)
    await office.do(ReleaseReservation(warehouse="main", sku="A1", reservation_id=str(order_id)))
    await office.do(CancelOrder(id=order_id, reason="no more"))
    await office.settle()
    assert await ended(office, order_id) == "cancelled"
    await nothing_left(office)


async def test_a_period_that_is_closed_between_shipment_and_voucher(office: Office) -> None:
    order_id = await placed(office)
    await office.do(ShipOrder(id=order_id))
    await office.close()
    await office.settle()
    saga = await office.saga(order_id)
    assert saga.status == SagaStatus.WAITING
    # Goods and vouchers wait for the period; the money does not.
    assert (await office.steps(order_id))[3:6] == [
        "ship finance.period_closed",
        "capture done",
        "post_sale finance.period_closed",
    ]
    assert not [each for each in office.entries() if each["journal"] == "sales"]
    await office.reopen()
    await office.settle()
    assert await ended(office, order_id) == "completed"
    assert (office.balance("cash"), office.balance("receivable")) == (TOTAL, ZERO)
    await in_books(office)


async def test_an_account_that_is_closed_in_between(office: Office) -> None:
    order_id = await placed(office)
    await office.do(CloseAccount(code="6001"))
    await ship(office, order_id)
    assert "post_sale finance.account_closed" in await office.steps(order_id)
    assert office.teller.taken == TOTAL


async def test_gifts(office: Office) -> None:
    """Nothing is to be held but the shipping."""
    order_id = await placed(office, order(("A1", "1"), price="0.00"))
    await ship(office, order_id)
    assert await ended(office, order_id) == "completed"
    assert (office.balance("cash"), office.balance("revenue")) == (SHIPPING, ZERO)


async def test_vouchers_name_the_order_and_the_customer(office: Office) -> None:
    order_id = await shipped(office)
    entries = [each for each in office.entries() if each["reference"] == str(order_id)]
    assert [each["journal"] for each in entries] == ["sales", "cash"]
    parties = {line["party"] for each in entries for line in each["lines"] if line["account"] == "1122"}
    assert parties == {"c-1"}


async def test_a_worker_that_was_left_behind_reserves_nothing(office: Office) -> None:
    """It decided, and stood still before its command; another worker took the saga to its end meanwhile."""
    answer = await office.do(order(("A1", "11")))
    (first,) = [event for event in office.events() if event.type == Order.Placed.TOPIC]
    stands, goes_on = asyncio.Event(), asyncio.Event()
    slow = office.workers[0].bus
    execute = slow.execute

    async def later(command: Command, context: Context) -> Answer:
        stands.set()
        await goes_on.wait()
        return await execute(command, context)

    slow.execute = later  # type: ignore[method-assign]
    left_behind = asyncio.create_task(office.deliver(OrderToCash, first, worker=0))
    await stands.wait()
    await office.deliver(OrderToCash, first, worker=1)
    assert await status(office, answer.id) == (OrderStatus.CANCELLED, "inventory.insufficient_stock")
    await office.do(receive("A1", "5", "4.00"))
    goes_on.set()
    await left_behind
    await office.settle()
    assert await office.steps(answer.id) == [
        "reserve inventory.insufficient_stock",
        "authorise dropped",
        "confirm dropped",
        "cancel done",
    ]
    await nothing_left(office)
