"""The table of sales, made by the SELECT in the file of its name."""

from pathlib import Path
from typing import Final

from projections.declaration import Projection

ORDERS: Final = Projection.of(
    "sales_orders",
    Path(__file__).parent / "orders.sql",
    version=1,
    reads={
        "sales.order.placed": 1,
        "sales.order.line_added": 1,
        "sales.order.line_removed": 1,
        "sales.order.confirmed": 1,
        "sales.order.cancelled": 1,
        "sales.order.shipped": 1,
        "sales.order.completed": 1,
        "sales.order.returned": 1,
    },
)

SALES_PROJECTIONS: Final = (ORDERS,)
