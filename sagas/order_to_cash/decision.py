"""What becomes of an order: confirmed, once goods and money are secured, or given up."""

from typing import Final

from commands.sales import CancelOrder, ConfirmOrder
from domain.sales.order import Order
from domain.sales.pricing import OrderLine, Pricing
from domain.sales.shipments import ShippedLine
from sagas.base import Happened, Input, Step, StepDone, StepRefused
from sagas.order_to_cash.goods import REASON_MAX
from sagas.order_to_cash.memory import OrderMemory, Sent, Standing, Wanted

CONFIRM: Final = "confirm"
CANCEL: Final = "cancel"
STEPS: Final = frozenset({CONFIRM, CANCEL})
LANE: Final = "order"


def learn(memory: OrderMemory, heard: Input) -> OrderMemory:
    """What the order says, and what a step for it came to."""
    match heard:
        case Happened(event=Order.Placed() as placed):
            return _revised(_placed(memory, heard, placed), placed.lines, placed.pricing, placed.revision)
        case Happened(event=Order.LineAdded() | Order.LineRemoved() as changed):
            return _revised(memory, changed.lines, changed.pricing, changed.revision)
        case Happened(event=Order.Shipped() as shipped):
            sent = Sent(
                number=shipped.shipment,
                lines=_wanted(shipped.lines),
                total=shipped.total,
                shipped_on=shipped.shipped_on,
            )
            # What more has left is to be paid for, whatever came of it before.
            memory = memory.but(unpaid=False, lapses=0)
            return memory.but(standing=Standing.CONFIRMED, shipments=(*memory.shipments, sent))
        case Happened(event=Order.Returned() as returned):
            return memory.but(
                standing=Standing.RETURNED, refund_due=returned.total, returned_on=returned.returned_on
            )
        case Happened(event=Order.Cancelled()) | StepDone(step="cancel"):
            return memory.but(standing=Standing.CANCELLED)
        case StepRefused(step="cancel"):
            return memory.but(cannot_cancel=True)
        case StepDone(step="confirm") if memory.standing is Standing.PENDING:
            return memory.but(standing=Standing.CONFIRMED)
        case StepRefused(step="confirm"):
            # The order has moved on: the event that says how is on its way.
            return memory.but(stale=memory.confirming)
    return memory


def following(memory: OrderMemory) -> tuple[OrderMemory, Step | None]:
    """What is to be decided next, if anything."""
    if memory.giving_up:
        may_cancel = memory.is_open and not memory.cannot_cancel
        return memory, cancel(memory) if may_cancel else None
    is_secured = memory.is_reserved and memory.is_held
    if memory.standing is Standing.PENDING and is_secured and memory.stale != memory.revision:
        return confirming(memory), confirm(memory)
    return memory, None


def confirm(memory: OrderMemory) -> Step:
    """Promise the order as it is."""
    payment = memory.payment_of(1) if memory.hold is None else memory.hold.payment_id
    command = ConfirmOrder(id=memory.order, revision=memory.revision, payment_id=payment)
    return Step(CONFIRM, command, lane=LANE)


def confirming(memory: OrderMemory) -> OrderMemory:
    """What is known once that was asked for."""
    return memory.but(confirming=memory.revision)


def cancel(memory: OrderMemory) -> Step:
    """Give the order up."""
    command = CancelOrder(id=memory.order, reason=memory.why[:REASON_MAX], code=memory.giving_up)
    return Step(CANCEL, command, lane=LANE)


def _placed(memory: OrderMemory, happened: Happened, placed: Order.Placed) -> OrderMemory:
    return memory.but(
        tenant=happened.tenant,
        order_id=happened.stream_id,
        customer=placed.customer_id,
        currency=placed.currency,
        warehouse=placed.warehouse,
        method=placed.payment.method,
        token=placed.payment.token,
    )


def _revised(
    memory: OrderMemory, lines: tuple[OrderLine, ...], pricing: Pricing, revision: int
) -> OrderMemory:
    return memory.but(lines=_wanted(lines), total=pricing.total, revision=revision)


def _wanted(lines: tuple[OrderLine, ...] | tuple[ShippedLine, ...]) -> tuple[Wanted, ...]:
    return tuple(Wanted(sku=each.sku, quantity=each.quantity) for each in lines)
