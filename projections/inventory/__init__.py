"""Inventory, as it is asked about: two tables, and what is there, what moved and what it is worth as queries
over them. Quantities are decimal text in plain digits, amounts have exactly the currency's decimals.
"""

from typing import Final

from projections.declaration import ProjectionQuery
from projections.inventory.movements import movements
from projections.inventory.stock_levels import stock_levels
from projections.inventory.tables import CHANGES, INVENTORY_PROJECTIONS, ITEMS
from projections.inventory.valuation import stock_valuation

__all__ = ["INVENTORY_PROJECTIONS", "INVENTORY_QUERIES", "MOVEMENTS", "STOCK_LEVELS", "STOCK_VALUATION"]

STOCK_LEVELS: Final = ProjectionQuery("inventory.stock_levels", (CHANGES, ITEMS), stock_levels)
MOVEMENTS: Final = ProjectionQuery("inventory.movements", (CHANGES,), movements)
STOCK_VALUATION: Final = ProjectionQuery("inventory.stock_valuation", (CHANGES, ITEMS), stock_valuation)

INVENTORY_QUERIES: Final = (STOCK_LEVELS, MOVEMENTS, STOCK_VALUATION)
