"""Order to cash: from the order that was placed to the money that was paid for it, or back again.

    placed    → reserve all lines or none → authorise → confirm
    changed   → release, reserve and authorise anew, confirm what it says by then
    shipped   → ship from stock, capture, post the sale; each capture is posted, too
    cancelled → release, void, refund
    returned  → take back into stock, refund, post the return
    no stock, declined, no answer, authorisation lost twice → cancel, then as cancelled

It remembers what the order says and what has been reached, and whenever it hears of anything asks what is to
be done next about goods, money and the order itself: one step of each at a time. An outcome that came late,
or an event that came between, so finds its place, whatever the order of things. Nothing that may be under way
is dropped: it is brought to its end, and compensated then.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import Final

from domain.payments.payment import Payment
from domain.sales.order import Order
from sagas.base import Happened, Input, Reaction, Saga, Step
from sagas.order_to_cash import books, decision, goods, money
from sagas.order_to_cash.memory import OrderMemory, Standing
from sagas.waiting import BOOKS_ARE_MENDED

OPERATION_PENDING: Final = "payments.operation_pending"


class OrderToCash(Saga):
    """One process an order."""

    TOPIC = "sagas.order_to_cash"
    STARTS = (Order.Placed,)
    HEARS = (
        Order.LineAdded,
        Order.LineRemoved,
        Order.Cancelled,
        Order.Shipped,
        Order.Returned,
        Payment.Captured,
        Payment.Refunded,
        Payment.RefundFailed,
        Payment.AuthorisationExpired,
    )
    MEMORY = OrderMemory
    WAITS_FOR = BOOKS_ARE_MENDED | {OPERATION_PENDING}
    NEVER_REFUSED = goods.HAPPENED

    @classmethod
    def keys(cls, happened: Happened) -> Iterable[str]:
        """The order's id."""
        return [str(getattr(happened.event, "order_id", happened.stream_id))]

    def react(self, memory: OrderMemory, heard: Input) -> Reaction:
        """What follows for goods, money, order and books."""
        memory, voucher = books.following(memory, heard)
        for part in (decision, goods, money):
            memory = part.learn(memory, heard)
        is_first = isinstance(heard, Happened) and isinstance(heard.event, Order.Placed)
        memory, steps = _first(memory) if is_first else self._following(memory)
        steps = [*steps, *([voucher] if voucher else [])]
        return Reaction(
            memory=memory,
            steps=steps,
            timers=self._timers(memory),
            drop=_unwanted(memory),
            end=None if steps or self._open(memory) else _outcome(memory),
        )

    def _following(self, memory: OrderMemory) -> tuple[OrderMemory, list[Step]]:
        """The next step of each kind, where none is open."""
        found: list[Step] = []
        for part in (goods, money, decision):
            if not part.STEPS & self._open(memory):
                memory, step = part.following(memory)
                found += [step] if step else []
        return memory, found

    def _open(self, memory: OrderMemory) -> set[str]:
        """The names of steps whose outcome is to be waited for."""
        return {each.asked.name for each in self.steps if each.is_open} - _unwanted(memory)

    def _timers(self, memory: OrderMemory) -> Mapping[str, datetime | None]:
        """Those that are to be set otherwise."""
        wanted = {
            money.TIMER: memory.expires_at,
            money.PATIENCE_TIMER: memory.asking_until,
        }
        return {name: due_at for name, due_at in wanted.items() if due_at != self.timers.get(name)}


def _first(memory: OrderMemory) -> tuple[OrderMemory, list[Step]]:
    """All that leads to a confirmed order, at once: one decision to record where nothing comes between."""
    steps = [goods.reserve(memory)]
    memory = goods.reserving(memory)
    if memory.to_hold:
        steps.append(money.authorise(memory))
        memory = money.authorising(memory)
    steps.append(decision.confirm(memory))
    # In one lane, so that each waits for the one before it.
    return decision.confirming(memory), [replace(each, lane=decision.LANE) for each in steps]


def _unwanted(memory: OrderMemory) -> AbstractSet[str]:
    """The names of steps that are not to be taken any more. One that was taken all the same does no harm: an
    order that was confirmed is cancelled, and what a doubtful payment holds is voided.
    """
    confirm = {decision.CONFIRM} if memory.giving_up else set()
    return confirm | ({money.AUTHORISE} if any(each.doubtful for each in memory.payments) else set())


def _outcome(memory: OrderMemory) -> str | None:
    """How it ended, once nothing is left to be done or to be heard of."""
    if memory.settled != memory.captured or memory.given_back != memory.refunded:
        return None
    if any(each.doubtful or (each.held > 0 and not each.stuck) for each in memory.payments):
        return None
    match memory.standing:
        case Standing.PENDING:
            return None
        case Standing.CONFIRMED:
            is_done = memory.is_all_sent and all(each.left for each in memory.shipments)
            outcome = "completed" if is_done else None
        case Standing.CANCELLED:
            outcome = None if memory.reserved else "cancelled"
        case _:
            outcome = "returned" if all(each.back for each in memory.shipments) else None
    if outcome is not None and memory.charge_due > 0:
        return f"{outcome}, unpaid" if memory.unpaid else None
    return f"{outcome}, not refunded" if outcome and memory.refund_left else outcome
