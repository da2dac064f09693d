"""The tables of inventory, each made by the SELECT in the file of its name."""

from pathlib import Path
from typing import Final

from projections.declaration import Projection

_FOLDER: Final = Path(__file__).parent

ITEMS: Final = Projection.of(
    "inventory_items", _FOLDER / "items.sql", version=1, reads={"inventory.item.registered": 1}
)
CHANGES: Final = Projection.of(
    "inventory_changes",
    _FOLDER / "changes.sql",
    version=1,
    reads={
        "inventory.stock.received": 1,
        "inventory.stock.issued": 1,
        "inventory.stock.shipped": 1,
        "inventory.stock.counted": 1,
        "inventory.stock.returned": 1,
        "inventory.stock.transferred_out": 1,
        "inventory.stock.transferred_in": 1,
        "inventory.stock.revalued": 1,
        "inventory.stock.reserved": 1,
        "inventory.stock.released": 1,
        "inventory.stock.reservation_expired": 1,
    },
)

INVENTORY_PROJECTIONS: Final = (CHANGES, ITEMS)
