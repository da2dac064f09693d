"""Whatever comes twice, late, in another order or never, whoever crashes and whatever the gateway does: each
order ends delivered, paid and booked, or cancelled with nothing left of it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from commands.finance import ClosePeriod, ReopenPeriod
from commands.inventory import AdjustStock, TransferStock
from commands.payments import CapturePayment, RefundPayment, SettlePayment, VoidPayment
from commands.sales import AddOrderLine, CancelOrder, RemoveOrderLine, ReturnOrder, ShipOrder
from domain.inventory.stock import Stock
from domain.payments.operation import OperationKind
from domain.payments.payment import Payment
from domain.sales.order import Order, OrderStatus
from domain.shared.errors import DomainError, Unavailable
from sagas.base import SagaStatus
from sagas.order_to_cash import OrderToCash
from tests.sagas.orders.office import SAGAS, Office, books, item, order, receive
from tests.sagas.orders.teller import HOLD, Mood

TOKENS = ("tok_ok",) * 5 + ("tok_declined",)
SKUS = ("A1", "B2")
ZERO = Decimal(0)

pick = st.integers(0, 99)
quantities = st.integers(1, 4).map(str)
amounts = st.sampled_from(["1.00", "20.00", "all"])

actions = st.one_of(
    st.tuples(st.just("place"), st.lists(quantities, min_size=1, max_size=2), st.sampled_from(TOKENS)),
    st.tuples(st.just("add"), pick, quantities),
    st.tuples(st.just("remove"), pick, st.sampled_from(SKUS)),
    st.tuples(st.just("cancel"), pick),
    *[st.tuples(st.just("ship_all"), pick)] * 3,
    st.tuples(st.just("ship_one"), pick, st.sampled_from(SKUS)),
    *[st.tuples(st.just("return"), pick)] * 2,
    st.tuples(st.just("receive"), st.sampled_from(SKUS), st.integers(-40, 0)),
    st.tuples(st.just("count"), st.sampled_from(SKUS), st.integers(5, 12)),
    st.tuples(st.just("move"), st.sampled_from(SKUS)),
    st.tuples(st.just("pass"), st.sampled_from([1, 60, 3600, 4 * 86400, 8 * 86400])),
    st.tuples(st.just("mood"), st.sampled_from(list(Mood))),
    st.tuples(st.just("refuse"), st.sampled_from([*OperationKind, None])),
    *[st.tuples(st.just("take"), pick, amounts)] * 2,
    st.tuples(st.just("let_go"), pick),
    *[st.tuples(st.just("give_back"), pick, amounts)] * 2,
    st.tuples(st.just("lapse"), pick),
    st.tuples(st.just("close")),
    st.tuples(st.just("crash"), st.integers(0, 6)),
    *[st.tuples(st.just("deliver"), pick, st.integers(0, 1))] * 6,
    *[st.tuples(st.just("together"), pick, pick)] * 2,
    st.tuples(st.just("again"), pick, st.integers(0, 1)),
    *[st.tuples(st.just("flush"), pick)] * 4,
    *[st.tuples(st.just("wake"), pick, st.integers(0, 1))] * 2,
)


@dataclass
class Play:
    """A history as it unfolds."""

    office: Office
    orders: list[UUID] = field(default_factory=list)
    goodwill: set[UUID | None] = field(default_factory=set)
    """Orders of which a cashier has given money back."""

    async def act(self, name: str, *details: Any) -> None:
        """One thing happens; what is refused does not, and of what the gateway was asked nobody may know."""
        with suppress(DomainError, Unavailable):
            await getattr(self, f"_{name}")(*details)

    def _order(self, number: int) -> UUID | None:
        return self.orders[number % len(self.orders)] if self.orders else None

    async def _on_order(self, number: int, command: Any, **fields: Any) -> None:
        order_id = self._order(number)
        if order_id is not None:
            await self.office.do(command(id=order_id, **fields))

    async def _place(self, wanted: list[str], token: str) -> None:
        lines = list(zip(SKUS, wanted, strict=False))
        self.orders.append((await self.office.do(order(*lines, token=token))).id)

    async def _add(self, number: int, quantity: str) -> None:
        line = {"sku": "B2", "name": "B2", "quantity": quantity, "unit_price": "3.33"}
        await self._on_order(number, AddOrderLine, **line)

    async def _remove(self, number: int, sku: str) -> None:
        await self._on_order(number, RemoveOrderLine, sku=sku)

    async def _cancel(self, number: int) -> None:
        await self._on_order(number, CancelOrder, reason="changed my mind")

    async def _ship_all(self, number: int) -> None:
        await self._on_order(number, ShipOrder)

    async def _ship_one(self, number: int, sku: str) -> None:
        await self._on_order(number, ShipOrder, lines=[{"sku": sku, "quantity": "1"}])

    async def _return(self, number: int) -> None:
        await self._on_order(number, ReturnOrder, reason="did not fit")

    async def _receive(self, sku: str, days: int) -> None:
        day = (self.office.now + timedelta(days=days)).date()
        await self.office.do(receive(sku, "3", "7.77", effective_at=day))

    async def _count(self, sku: str, counted: int) -> None:
        await self.office.do(
            AdjustStock(warehouse="main", sku=sku, counted_quantity=str(counted), reason="count")
        )

    async def _move(self, sku: str) -> None:
        await self.office.do(
            TransferStock.model_validate({"sku": sku, "from": "main", "to": "north", "quantity": "1"})
        )

    async def _pass(self, seconds: int) -> None:
        self.office.now += timedelta(seconds=seconds)

    async def _mood(self, mood: Mood) -> None:
        self.office.teller.mood = mood

    async def _refuse(self, kind: OperationKind | None) -> None:
        self.office.teller.refuses = set() if kind is None else {kind}

    async def _payment(self, number: int) -> Payment | None:
        """One of the order's."""
        found = [each for each in await self.office.all(Payment) if each.order_id == self._order(number)]
        return found[number % len(found)] if found else None

    async def _take(self, number: int, amount: str) -> None:
        """A cashier takes money that is held."""
        if (payment := await self._payment(number)) is not None:
            some = str(payment.held) if amount == "all" else amount
            await self.office.do(CapturePayment(id=payment.id, amount=some))

    async def _let_go(self, number: int) -> None:
        """A cashier lets go of it."""
        if (payment := await self._payment(number)) is not None:
            await self.office.do(VoidPayment(id=payment.id))

    async def _give_back(self, number: int, amount: str) -> None:
        """A cashier gives some of it back."""
        if (payment := await self._payment(number)) is not None:
            some = str(payment.refundable) if amount == "all" else amount
            self.goodwill.add(payment.order_id)
            await self.office.do(RefundPayment(id=payment.id, amount=some, reason="goodwill"))

    async def _lapse(self, number: int) -> None:
        """The gateway lets go of what it holds, and says so."""
        for payment in await self.office.all(Payment):
            if payment.order_id == self._order(number) and payment.held and not payment.pending:
                self.office.teller.expire(payment.id)
                from commands.payments.steps import RecordStanding
                from domain.payments.operation import Standing

                standing = Standing(payment.captured, ZERO)
                await self.office.do(
                    RecordStanding(id=payment.id, version=payment.version, standing=standing)
                )

    async def _close(self) -> None:
        for month in ("2026-01", "2026-02", "2026-03"):
            with suppress(DomainError):
                await self.office.do(ClosePeriod(period=month))

    async def _crash(self, moments: int) -> None:
        self.office.crash_in = moments

    async def _deliver(self, number: int, worker: int) -> None:
        waiting = self.office.waiting()
        if waiting:
            await self.office.deliver(*waiting[number % len(waiting)], worker)

    async def _flush(self, first: int) -> None:
        """All that is on its way arrives, in some order."""
        number = first
        while self.office.waiting():
            await self._deliver(number, number % 2)
            number += first

    async def _together(self, one: int, other: int) -> None:
        await asyncio.gather(self._deliver(one, 0), self._deliver(other, 1))

    async def _again(self, number: int, worker: int) -> None:
        """Something comes once more."""
        heard = [
            (saga, stored)
            for saga in SAGAS
            for (name, stream), version in self.office.heard.items()
            if name == saga.TOPIC
            for stored in self.office.log.stream(stream)
            if stored.version <= version and stored.type in {e.TOPIC for e in (*saga.STARTS, *saga.HEARS)}
        ]
        if heard:
            await self.office.deliver(*heard[number % len(heard)], worker)

    async def _wake(self, number: int, worker: int) -> None:
        due = self.office.timers.due()
        if due:
            await self.office.wake(due[number % len(due)], worker)

    async def end(self) -> None:
        """Everything is mended, and what can be delivered is."""
        office = self.office
        office.crash_in = None
        office.teller.mood, office.teller.refuses = Mood.FINE, set()
        for month in ("2026-03", "2026-02", "2026-01"):
            with suppress(DomainError):
                await office.do(ReopenPeriod(period=month))
        for payment in await office.all(Payment):
            await office.do(SettlePayment(id=payment.id))
        await office.settle()
        for order_id in self.orders:
            with suppress(DomainError):
                await office.do(ShipOrder(id=order_id))
        await self.act("flush", 1)
        for order_id in self.orders[::2]:
            with suppress(DomainError):
                await office.do(ReturnOrder(id=order_id))
        for sku in SKUS:  # what was lost is found again, so that all that left can be booked
            await office.do(receive(sku, "100", "5.00"))
        for _ in range(3):
            await office.settle()
            office.now += timedelta(minutes=2)
        # What could not even be released runs out.
        office.now += HOLD
        await office.settle()


async def play(history: list[tuple[Any, ...]], *, several_captures: bool) -> Play:
    office = Office()
    office.teller.several_captures = several_captures
    played = Play(office)
    await office.do(*books(), *(item(sku) for sku in SKUS))
    await office.do(item("C3", "moving_average"), receive("A1", "12", "4.00"), receive("B2", "10", "1.25"))
    for action in history:
        await played.act(*action)
    await played.end()
    return played


async def check(played: Play) -> None:
    office = played.office
    stocks: list[Stock] = await office.all(Stock)
    for code, warehouse in (("inventory", "main"), ("1406", "north")):
        value = sum((each.value for each in stocks if each.warehouse == warehouse), ZERO)
        assert office.balance(code) == value, warehouse
    payments: list[Payment] = await office.all(Payment)
    owed = ZERO
    for order_id in played.orders:
        each: Order = await office.load(Order, order_id)
        saga: OrderToCash = await office.saga(order_id)
        paid = [p for p in payments if p.order_id == order_id]
        owed += await check_order(each, saga, stocks, paid, has_goodwill=order_id in played.goodwill)
    assert office.balance("receivable") == owed
    assert office.balance("cash") == office.teller.taken
    assert office.teller.held(office.now) == sum((each.held for each in payments), ZERO) == ZERO
    entries = [entry for entry in office.entries() if entry["journal"] in {"sales", "cash"}]
    orders = {str(each) for each in played.orders}
    assert {entry["reference"] for entry in entries} <= orders


async def check_order(
    each: Order, saga: OrderToCash, stocks: list[Stock], payments: list[Payment], *, has_goodwill: bool
) -> Decimal:
    """Where it ended; what is still owed for it."""
    event(f"{each.status}, {saga.ended}")
    memory = saga.MEMORY.model_validate(saga.remembered)
    about = (each.status, saga.ended, [(s.asked.name, s.status, s.code) for s in saga.steps], memory)
    assert saga.status == SagaStatus.ENDED, about
    assert not saga.timers, about
    assert all(str(each.id) not in stock.reservations for stock in stocks), about
    captured = sum((p.captured for p in payments), ZERO)
    refunded = sum((p.refunded for p in payments), ZERO)
    went: Decimal = sum(
        (d.quantity for s in stocks for d in s.deliveries if d.order_id == str(each.id)), ZERO
    )
    assert each.pricing is not None
    match each.status:
        case OrderStatus.CANCELLED:
            assert went == ZERO, about
            assert captured == refunded or saga.ended == "cancelled, not refunded", about
            return refunded - captured
        case OrderStatus.COMPLETED:
            assert went == sum(line.quantity for line in each.lines), about
            assert refunded == 0 or has_goodwill, about
            assert captured <= each.pricing.total, about
            assert captured == each.pricing.total or saga.ended == "completed, unpaid", about
            return each.pricing.total - captured + refunded
        case OrderStatus.RETURNED:
            assert went == 0, about
            charged = sum((s.shipping for s in each.shipments), ZERO)
            open_amount = charged - captured + refunded
            match saga.ended:
                case "returned, not refunded":
                    assert open_amount < 0, about
                case "returned, unpaid":
                    assert open_amount > 0, about
                case outcome:
                    assert outcome == "returned", about
                    assert open_amount == 0 or (has_goodwill and open_amount > 0), about
            return open_amount
        case _:
            raise AssertionError(about)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(history=st.lists(actions, max_size=40), several_captures=st.booleans())
def test_every_order_comes_to_an_end(history: list[tuple[Any, ...]], several_captures: bool) -> None:
    async def run() -> None:
        await check(await play(history, several_captures=several_captures))

    asyncio.run(run())
