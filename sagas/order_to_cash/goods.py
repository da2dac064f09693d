"""The goods of an order: promised, delivered, taken back. One step at a time."""

from decimal import Decimal
from typing import Final

from commands.inventory import OrderLine, ReleaseOrder, ReserveOrder, ReturnOrder, ShipOrder
from sagas.base import Input, Step, StepDone, StepRefused
from sagas.order_to_cash.memory import OrderMemory, Sent, Standing, Wanted

RESERVE: Final = "reserve"
RELEASE: Final = "release"
SHIP: Final = "ship"
RETURN: Final = "return"
STEPS: Final = frozenset({RESERVE, RELEASE, SHIP, RETURN})
LANE: Final = "goods"

HAPPENED: Final = frozenset({SHIP, RETURN})
"""Goods that have moved: somebody has to put the stock right, then it is booked."""
REASON_MAX: Final = 1000


def learn(memory: OrderMemory, heard: Input) -> OrderMemory:
    """What a step for goods came to."""
    match heard:
        case StepDone(step="reserve"):
            return memory.but(reserved=memory.at_revision)
        case StepRefused(step="reserve") if memory.at_revision == memory.revision:
            return memory.but(giving_up=heard.code, why=heard.detail)
        case StepDone(step="release") | StepRefused(step="release"):
            # What is refused is not there.
            return memory.but(reserved=0)
        case StepDone(step="ship"):
            shipped = memory.with_sent(memory.at_shipment, left=True)
            is_last = shipped.is_all_sent and all(each.left for each in shipped.shipments)
            return shipped.but(reserved=0) if is_last else shipped
        case StepDone(step="return"):
            return memory.with_sent(memory.at_shipment, back=True)
    return memory


def following(memory: OrderMemory) -> tuple[OrderMemory, Step | None]:
    """What is to be done next about goods, if anything."""
    moved = _movement(memory)
    if moved is not None:
        number, step = moved
        return memory.but(at_shipment=number), step
    if memory.reserved and _is_unwanted(memory):
        return memory, _release(memory)
    if memory.standing is Standing.PENDING and not memory.reserved and not memory.giving_up:
        return reserving(memory), reserve(memory)
    return memory, None


def reserve(memory: OrderMemory) -> Step:
    """Promise all lines, or none."""
    command = ReserveOrder(order_id=str(memory.order), warehouse=memory.warehouse, lines=_lines(memory.lines))
    return Step(RESERVE, command, lane=LANE)


def reserving(memory: OrderMemory) -> OrderMemory:
    """What is known once that was asked for."""
    return memory.but(at_revision=memory.revision, skus=tuple(each.sku for each in memory.lines))


def _movement(memory: OrderMemory) -> tuple[int, Step] | None:
    """The first shipment that the stock does not know of, or the first that came back."""
    for sent in memory.shipments:
        if not sent.left:
            return sent.number, _ship(memory, sent)
    if memory.standing is Standing.RETURNED:
        for sent in memory.shipments:
            if not sent.back:
                return sent.number, _return(memory, sent)
    return None


def _is_unwanted(memory: OrderMemory) -> bool:
    """Whether what is promised will not be delivered."""
    match memory.standing:
        case Standing.PENDING:
            return not memory.is_reserved
        case Standing.CONFIRMED:
            return False
        case Standing.CANCELLED:
            return True
        case _:  # returned: what had left has to leave the stock first
            return all(each.left for each in memory.shipments)


def _release(memory: OrderMemory) -> Step:
    reason = memory.why or f"order is {memory.standing}, revision {memory.revision}"
    command = ReleaseOrder(
        order_id=str(memory.order),
        warehouse=memory.warehouse,
        skus=memory.skus,
        reason=reason[:REASON_MAX],
    )
    return Step(RELEASE, command, lane=LANE)


def _ship(memory: OrderMemory, sent: Sent) -> Step:
    command = ShipOrder(
        order_id=str(memory.order),
        warehouse=memory.warehouse,
        shipment=sent.number,
        lines=_lines(sent.lines),
        effective_at=sent.shipped_on,
    )
    return Step(SHIP, command, lane=LANE)


def _return(memory: OrderMemory, sent: Sent) -> Step:
    assert memory.returned_on is not None
    command = ReturnOrder(
        order_id=str(memory.order),
        warehouse=memory.warehouse,
        shipment=sent.number,
        lines=_lines(sent.lines),
        effective_at=memory.returned_on,
    )
    return Step(RETURN, command, lane=LANE)


def _lines(wanted: tuple[Wanted, ...]) -> tuple[OrderLine, ...]:
    return tuple(OrderLine(sku=each.sku, quantity=text(each.quantity)) for each in wanted)


def text(number: Decimal) -> str:
    """As commands take it."""
    return f"{number:f}"
