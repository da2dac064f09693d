"""Every movement of goods in the books, so that an inventory account says what its stock is worth.

    received                inventory                   to  goods received not invoiced
    issued, shipped         cost of goods sold          to  inventory
    returned                inventory                   to  cost of goods sold
    counted                 inventory                   to  inventory adjustments, or back
    transferred             inventory, there            to  inventory, here, where these are two accounts
    revalued                inventory                   to  cost of goods sold, or back

Goods that leave for use are a cost like those that are sold. A revaluation says that goods which have left
since ought to have taken another cost along, so it goes where their cost went.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from commands.finance import PostVoucher, VoucherLine
from commands.finance.vouchers import Part
from domain.inventory.stock import Stock
from domain.inventory.stock_events import Movement
from sagas.base import NOTHING, Happened, Input, Memory, Reaction, Saga, Step, StepDone
from sagas.waiting import BOOKS_ARE_MENDED

JOURNAL: Final = "inventory"
POST: Final = "post"

_COUNTERPARTS: Final[dict[str, Part]] = {
    Stock.Received.TOPIC: "goods_received_not_invoiced",
    Stock.Issued.TOPIC: "cost_of_goods_sold",
    Stock.Shipped.TOPIC: "cost_of_goods_sold",
    Stock.Returned.TOPIC: "cost_of_goods_sold",
    Stock.Counted.TOPIC: "inventory_adjustments",
    Stock.Revalued.TOPIC: "cost_of_goods_sold",
}


class InventoryVoucher(Saga):
    """One process a movement that is worth something; one for both sides of a transfer."""

    TOPIC = "sagas.inventory_voucher"
    # What is transferred in, is with what is transferred out.
    STARTS = (
        Stock.Received,
        Stock.Issued,
        Stock.Shipped,
        Stock.Counted,
        Stock.Returned,
        Stock.TransferredOut,
        Stock.Revalued,
    )
    WAITS_FOR = BOOKS_ARE_MENDED

    @classmethod
    def keys(cls, happened: Happened) -> Iterable[str]:
        """The movement: its stock's stream and version."""
        event = happened.event
        if isinstance(event, Movement) and event.value_change != 0:
            return [f"{happened.stream_id}/{happened.version}"]
        return []

    def react(self, memory: Memory, heard: Input) -> Reaction:  # noqa: ARG002 - nothing is to be remembered
        """Post the voucher."""
        match heard:
            case Happened(event=Movement() as movement):
                return Reaction(steps=[Step(POST, voucher(movement))])
            case StepDone():
                return Reaction(end="posted")
        return NOTHING


def voucher(movement: Movement) -> PostVoucher:
    """What a movement means to the books, on the day of it."""
    here = _inventory(movement, movement.warehouse, movement.value_change)
    if isinstance(movement, Stock.TransferredOut):
        there = _inventory(movement, movement.counterpart, -movement.value_change)
    else:
        there = _line(_COUNTERPARTS[movement.TOPIC], -movement.value_change)
    what = movement.TOPIC.rpartition(".")[2].replace("_", " ")
    return PostVoucher(
        journal=JOURNAL,
        posting_date=movement.effective_at,
        currency=movement.currency,
        memo=f"{movement.sku} {what}",
        reference=movement.reference or f"{movement.warehouse}/{movement.sku}",
        lines=(here, there) if movement.value_change > 0 else (there, here),
    )


def _inventory(movement: Movement, warehouse: str, value: Decimal) -> VoucherLine:
    about = {"warehouse": warehouse, "sku": movement.sku}
    return _line("inventory", value, warehouse=warehouse, dimensions=about)


def _line(part: Part, value: Decimal, **told: object) -> VoucherLine:
    side = "debit" if value > 0 else "credit"
    return VoucherLine.model_validate({"part": part, side: f"{abs(value):f}", **told})
