"""The one registry: which contexts and which sagas the system has, and what each brings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api.finance import FINANCE
from api.inventory import INVENTORY
from api.payments import PAYMENTS
from api.routing import ContextRoutes
from api.sagas import saga_routes
from api.sales import SALES
from commands.bus import Command, Handler, Procedure
from commands.finance import HANDLERS as FINANCE_HANDLERS
from commands.inventory import HANDLERS as INVENTORY_HANDLERS
from commands.payments import HANDLERS as PAYMENTS_HANDLERS
from commands.payments import Till
from commands.sales import HANDLERS as SALES_HANDLERS
from domain.finance.account import Account
from domain.finance.account_mapping import AccountMapping
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.finance.journal_entry import JournalEntry
from domain.inventory.item import Item
from domain.inventory.stock import Stock
from domain.payments.payment import Payment
from domain.sales.order import Order
from domain.sales.pricing_policy import PricingPolicy
from domain.shared.aggregate import Aggregate
from erp.gateways import gateway_of
from erp.settings import Settings
from projections.declaration import Projection, ProjectionQuery
from projections.finance import FINANCE_PROJECTIONS, FINANCE_QUERIES
from projections.inventory import INVENTORY_PROJECTIONS, INVENTORY_QUERIES
from projections.sagas import SAGAS_PROJECTIONS, SAGAS_QUERIES
from projections.sales import SALES_PROJECTIONS, SALES_QUERIES
from sagas.base import Saga
from sagas.inventory_voucher import InventoryVoucher
from sagas.order_to_cash import OrderToCash
from sagas.reservation_expiry import ReservationExpiry


@dataclass(frozen=True, slots=True)
class Context:
    """A part of the business: its aggregates, the handlers of its commands, its routes, its projections and
    what they are asked.

    `procedures` makes those of its commands that are carried out in steps, with whom the settings name.
    """

    name: str
    aggregates: Sequence[type[Aggregate]]
    handlers: Mapping[type[Command], Handler]
    routes: ContextRoutes
    projections: Sequence[Projection] = ()
    queries: Sequence[ProjectionQuery] = ()
    procedures: Callable[[Settings], Mapping[type[Command], Procedure]] = lambda _: {}


SAGAS: Final[tuple[type[Saga], ...]] = (OrderToCash, InventoryVoucher, ReservationExpiry)

CONTEXTS: Final = (
    Context(
        name="finance",
        aggregates=(Account, FiscalCalendar, ApprovalPolicy, AccountMapping, JournalEntry),
        handlers=FINANCE_HANDLERS,
        routes=FINANCE,
        projections=FINANCE_PROJECTIONS,
        queries=FINANCE_QUERIES,
    ),
    Context(
        name="payments",
        aggregates=(Payment,),
        handlers=PAYMENTS_HANDLERS,
        routes=PAYMENTS,
        procedures=lambda settings: Till(gateway_of(settings.payments)).procedures(),
    ),
    Context(
        name="inventory",
        aggregates=(Item, Stock),
        handlers=INVENTORY_HANDLERS,
        routes=INVENTORY,
        projections=INVENTORY_PROJECTIONS,
        queries=INVENTORY_QUERIES,
    ),
    Context(
        name="sales",
        aggregates=(Order, PricingPolicy),
        handlers=SALES_HANDLERS,
        routes=SALES,
        projections=SALES_PROJECTIONS,
        queries=SALES_QUERIES,
    ),
    Context(
        name="sagas",
        aggregates=(),
        handlers={},
        routes=saga_routes(SAGAS),
        projections=SAGAS_PROJECTIONS,
        queries=SAGAS_QUERIES,
    ),
)


def aggregates() -> list[type[Aggregate]]:
    """Every aggregate class of the system, sagas included."""
    return [*(aggregate for context in CONTEXTS for aggregate in context.aggregates), *SAGAS]


def handlers() -> dict[type[Command], Handler]:
    """Every command with its handler."""
    return {command: handler for context in CONTEXTS for command, handler in context.handlers.items()}


def procedures(settings: Settings) -> dict[type[Command], Procedure]:
    """Every command that is carried out in steps, with its procedure."""
    return {
        command: procedure
        for context in CONTEXTS
        for command, procedure in context.procedures(settings).items()
    }


def projections() -> list[Projection]:
    """Every projection of the system."""
    return [projection for context in CONTEXTS for projection in context.projections]


def queries() -> list[ProjectionQuery]:
    """Every question that projections answer."""
    return [query for context in CONTEXTS for query in context.queries]
