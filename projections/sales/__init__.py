"""Sales, as they are asked about: one table of what happened to orders, and the list of orders and the
revenue as queries over it. Amounts are decimal text with exactly the currency's decimals.
"""

from typing import Final

from projections.declaration import ProjectionQuery
from projections.sales.orders import orders
from projections.sales.revenue import revenue
from projections.sales.tables import ORDERS, SALES_PROJECTIONS

__all__ = ["LISTED_ORDERS", "REVENUE", "SALES_PROJECTIONS", "SALES_QUERIES"]

LISTED_ORDERS: Final = ProjectionQuery("sales.orders", (ORDERS,), orders)
REVENUE: Final = ProjectionQuery("sales.revenue", (ORDERS,), revenue)

SALES_QUERIES: Final = (LISTED_ORDERS, REVENUE)
