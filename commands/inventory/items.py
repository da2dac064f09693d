"""Items: commands and handlers."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final

from pydantic import StringConstraints

from commands.bus import Command, Handler, Work
from commands.fields import CurrencyCode, FixedPermission, LevelText, NaturalKey, ShortText
from domain.inventory.item import Item, item_id
from domain.inventory.valuation import Valuation

Named = Annotated[ShortText, StringConstraints(min_length=1)]


class RegisterItem(FixedPermission):
    """Allow an item to be kept in stock."""

    TOPIC = "inventory.register_item"
    needs = "inventory.items:write"
    creates = True

    sku: NaturalKey
    name: Named
    unit: Named
    """What quantities count, such as `pcs` or `kg`."""
    valuation: Valuation
    currency: CurrencyCode
    reorder_point: LevelText = "0"
    """Falling to it is told once, until goods come in that lift it above."""
    weight_kg: LevelText = "0"
    """Of one unit."""


async def register_item(command: RegisterItem, work: Work) -> Item:
    """See `Item.register`."""
    item = await work.edit(Item, item_id(work.tenant, command.sku))
    item.register(
        sku=command.sku,
        name=command.name,
        unit=command.unit,
        valuation=command.valuation,
        currency=command.currency,
        reorder_point=Decimal(command.reorder_point),
        weight_kg=Decimal(command.weight_kg),
    )
    return item


HANDLERS: Final[Mapping[type[Command], Handler]] = {RegisterItem: register_item}
