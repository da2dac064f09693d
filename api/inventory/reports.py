"""Inventory: its reports and lists out of the read side."""

from typing import Any, Final

from pydantic import Field, field_validator

from api.business_days import AsOfParams, FromToParams
from api.report_routes import ReportParams, ReportRoute, SearchRoute
from commands.fields import NaturalKey
from projections.inventory import MOVEMENTS, STOCK_LEVELS, STOCK_VALUATION
from projections.inventory.movements import Movement
from projections.inventory.stock_levels import StockLevel
from projections.inventory.valuation import StockValuation, ValuationRow

_READ: Final = "inventory.reports:read"
_TRUTHS: Final = {"true": True, "false": False}


class _StockParams(ReportParams):
    sku: NaturalKey | None = Field(default=None, description="Only of this item.")
    warehouse: NaturalKey | None = Field(default=None, description="Only in this one.")
    below_reorder: bool | None = Field(
        default=None,
        description="Only where what is available has come down to the item's reorder point, or below it; "
        "`false`: only where it has not.",
    )

    @field_validator("below_reorder", mode="before")
    @classmethod
    def _truth(cls, given: object) -> bool:
        if given not in _TRUTHS:
            raise ValueError("Input should be true or false")
        return _TRUTHS[str(given)]


class _MovementsParams(FromToParams):
    sku: NaturalKey | None = Field(default=None, description="Only of this item.")
    warehouse: NaturalKey | None = Field(default=None, description="Only in this one.")

    def arguments(self) -> dict[str, Any]:
        return {"sku": self.sku, "warehouse": self.warehouse, **super().arguments()}


REPORTS: Final = (
    ReportRoute(
        path="/v1/inventory/valuation",
        permission=_READ,
        query=STOCK_VALUATION,
        params=AsOfParams,
        answer=StockValuation,
        row=ValuationRow,
        rows=lambda answer: answer.rows,
        file_name="stock-valuation",
    ),
)
SEARCHES: Final = (
    SearchRoute(
        path="/v1/inventory/stock",
        permission="inventory.stock:read",
        query=STOCK_LEVELS,
        params=_StockParams,
        item=StockLevel,
        kind="inventory.stock",
        file_name="stock",
    ),
    SearchRoute(
        path="/v1/inventory/movements",
        permission="inventory.stock:read",
        query=MOVEMENTS,
        params=_MovementsParams,
        item=Movement,
        kind="inventory.movement",
        file_name="stock-movements",
    ),
)
