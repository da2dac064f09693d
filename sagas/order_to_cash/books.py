"""What an order means to the books.

    a shipment      receivable  to  revenue, tax, shipping revenue     on the day it left
    a return        revenue, tax  to  receivable                       on the day it came back
    a capture       cash  to  receivable                               on the day it was told, in UTC
    a refund        receivable  to  cash                               likewise

Stock and cost of goods sold follow the stock: see `inventory_voucher`.
"""

from collections.abc import Sequence
from datetime import UTC, date
from decimal import Decimal
from typing import Final

from commands.finance import PostVoucher, VoucherLine
from commands.finance.vouchers import Part
from domain.payments.payment import Payment
from domain.sales.order import Order
from sagas.base import Happened, Input, Step
from sagas.order_to_cash.goods import text
from sagas.order_to_cash.memory import OrderMemory

POST_SALE: Final = "post_sale"
POST_RETURN: Final = "post_return"
POST_SETTLEMENT: Final = "post_settlement"
POST_REFUND: Final = "post_refund"
LANE: Final = "books"

SALES: Final = "sales"
CASH: Final = "cash"

Amount = tuple[Part, Decimal]


def following(memory: OrderMemory, heard: Input) -> tuple[OrderMemory, Step | None]:
    """What is to be posted about it, if anything. `memory`: as it was before."""
    match heard:
        case Happened(event=Order.Shipped() as shipped):
            return memory, _step(POST_SALE, _sale(memory, shipped))
        case Happened(event=Order.Returned() as returned):
            return memory, _step(POST_RETURN, _return(memory, returned))
        case Happened(event=Payment.Captured(amount=amount)):
            settled = memory.but(settled=memory.settled + amount)
            return settled, _step(POST_SETTLEMENT, _cash(memory, heard, amount, "Payment"))
        case Happened(
            event=Payment.Refunded(refunded_after=after) | Payment.RefundFailed(refunded_after=after)
        ):
            paid = memory.paid(heard.stream_id)
            booked = memory.with_paid(paid.but(booked=after))
            return booked, _step(POST_REFUND, _cash(memory, heard, paid.booked - after, "Refund"))
    return memory, None


def _sale(memory: OrderMemory, shipped: Order.Shipped) -> PostVoucher | None:
    amounts: list[Amount] = [
        ("receivable", shipped.total),
        ("revenue", -shipped.net),
        ("tax", -shipped.tax),
        ("shipping_revenue", -shipped.shipping),
    ]
    return _voucher(memory, SALES, shipped.shipped_on, f"Shipment {shipped.shipment}", amounts)


def _return(memory: OrderMemory, returned: Order.Returned) -> PostVoucher | None:
    amounts: list[Amount] = [
        ("revenue", returned.net),
        ("tax", returned.tax),
        ("receivable", -returned.total),
    ]
    return _voucher(memory, SALES, returned.returned_on, "Return", amounts)


def _cash(memory: OrderMemory, happened: Happened, amount: Decimal, memo: str) -> PostVoucher | None:
    """Money that came in, or went out when the amount is below zero."""
    day = happened.at.astimezone(UTC).date()
    return _voucher(memory, CASH, day, memo, [("cash", amount), ("receivable", -amount)])


def _voucher(
    memory: OrderMemory, journal: str, day: date, memo: str, amounts: Sequence[Amount]
) -> PostVoucher | None:
    """A voucher of these amounts: debits above zero, credits below; none where all are nothing."""
    debits_first = sorted(amounts, key=lambda each: each[1] < 0)
    lines = tuple(_line(memory, part, amount) for part, amount in debits_first if amount)
    if not lines:
        return None
    return PostVoucher(
        journal=journal,
        posting_date=day,
        currency=memory.currency,
        memo=memo,
        reference=str(memory.order),
        lines=lines,
    )


def _line(memory: OrderMemory, part: Part, amount: Decimal) -> VoucherLine:
    side = "debit" if amount > 0 else "credit"
    party = memory.customer if part == "receivable" else None
    return VoucherLine.model_validate({"part": part, side: text(abs(amount)), "party": party})


def _step(name: str, voucher: PostVoucher | None) -> Step | None:
    return None if voucher is None else Step(name, voucher, lane=LANE)
