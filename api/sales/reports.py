"""Sales: its reports and lists out of the read side."""

from typing import Any, Final

from pydantic import Field

from api.business_days import FromToParams
from api.report_routes import ReportRoute, SearchRoute
from commands.sales.fields import NamedText
from projections.sales import LISTED_ORDERS, REVENUE
from projections.sales.orders import ListedOrder, OrderListStatus
from projections.sales.revenue import Revenue, RevenueGroup, RevenueRow


class _OrdersParams(FromToParams):
    status: OrderListStatus | None = None
    customer_id: NamedText | None = Field(default=None, description="Only of this customer.")

    def arguments(self) -> dict[str, Any]:
        return {"status": self.status, "customer_id": self.customer_id, **super().arguments()}


class _RevenueParams(FromToParams):
    group_by: RevenueGroup = Field(default="day", description="What each row is about.")

    def arguments(self) -> dict[str, Any]:
        return {"group_by": self.group_by, **super().arguments()}


REPORTS: Final = (
    ReportRoute(
        path="/v1/sales/revenue",
        permission="sales.reports:read",
        query=REVENUE,
        params=_RevenueParams,
        answer=Revenue,
        row=RevenueRow,
        rows=lambda answer: answer.rows,
        file_name="revenue",
    ),
)
SEARCHES: Final = (
    SearchRoute(
        path="/v1/sales/orders",
        permission="sales.orders:read",
        query=LISTED_ORDERS,
        params=_OrdersParams,
        item=ListedOrder,
        kind="sales.order",
        file_name="orders",
    ),
)
