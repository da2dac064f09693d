"""Items: what can be kept in stock, one stream per sku.

DomainError
├── ItemExists      the sku is taken
└── ItemNotFound    there is no item of this sku
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final
from uuid import UUID

from domain.inventory.valuation import NOTHING, Valuation, plain
from domain.shared.aggregate import Aggregate, NumberedEvent, event
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id

ITEM_SERIES: Final = "inventory.item"
"""Items take numbers in it, which makes the register that lists are read from."""


class ItemExists(DomainError):
    """The sku is taken."""

    code: ClassVar[str] = "inventory.item_exists"


class ItemNotFound(DomainError):
    """There is no item of this sku."""

    code: ClassVar[str] = "inventory.item_not_found"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The place of an item in a warehouse, and how stock is kept there."""

    warehouse: str
    sku: str
    currency: str
    valuation: Valuation
    reorder_point: Decimal


class Item(Aggregate):
    """Something that can be kept in stock."""

    TOPIC = "inventory.item"

    sku: str = ""
    name: str = ""
    unit: str = ""
    valuation: Valuation = Valuation.FIFO
    currency: str = ""
    reorder_point: Decimal = NOTHING
    weight_kg: Decimal = NOTHING

    class Registered(NumberedEvent):
        """The item can be kept in stock from now on."""

        TOPIC = "inventory.item.registered"
        sku: str
        name: str
        unit: str
        valuation: Valuation
        currency: str
        reorder_point: Decimal
        weight_kg: Decimal

    def register(
        self,
        *,
        sku: str,
        name: str,
        unit: str,
        valuation: Valuation,
        currency: str,
        reorder_point: Decimal,
        weight_kg: Decimal,
    ) -> None:
        """Allow the item to be kept in stock.

        Raises:
            ItemExists: the sku is taken.
        """
        if self.exists:
            raise ItemExists(f"Item {sku} exists already.", sku=sku)
        self._registered(
            series=ITEM_SERIES,
            sku=sku,
            name=name,
            unit=unit,
            valuation=valuation,
            currency=currency,
            reorder_point=plain(reorder_point),
            weight_kg=plain(weight_kg),
        )

    def require_registered(self, sku: str) -> "Item":
        """The item itself, if it is there.

        Raises:
            ItemNotFound: nothing was registered under this sku.
        """
        if not self.exists:
            raise ItemNotFound(f"There is no item {sku}.", sku=sku)
        return self

    def shelf(self, warehouse: str) -> Shelf:
        """Its place in a warehouse."""
        return Shelf(warehouse, self.sku, self.currency, self.valuation, self.reorder_point)

    @event(Registered)
    def _registered(
        self,
        *,
        series: str,  # noqa: ARG002 - the store keeps it with the number
        sku: str,
        name: str,
        unit: str,
        valuation: Valuation,
        currency: str,
        reorder_point: Decimal,
        weight_kg: Decimal,
    ) -> None:
        self.sku = sku
        self.name = name
        self.unit = unit
        self.valuation = valuation
        self.currency = currency
        self.reorder_point = reorder_point
        self.weight_kg = weight_kg


def item_id(tenant: UUID, sku: str) -> UUID:
    """The stream of the item with this sku."""
    return natural_id(tenant, Item.TOPIC, sku)
