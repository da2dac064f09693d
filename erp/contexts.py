"""The one registry: which contexts the system has, and what each brings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api.finance import FINANCE
from api.routing import ContextRoutes
from commands.bus import Command, Handler
from commands.finance import HANDLERS as FINANCE_HANDLERS
from domain.finance.account import Account
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.finance.journal_entry import JournalEntry
from domain.shared.aggregate import Aggregate
from projections.declaration import Projection


@dataclass(frozen=True, slots=True)
class Context:
    """A part of the business: its aggregates, the handlers of its commands, its routes, its projections."""

    name: str
    aggregates: Sequence[type[Aggregate]]
    handlers: Mapping[type[Command], Handler]
    routes: ContextRoutes
    projections: Sequence[Projection] = ()


CONTEXTS: Final = (
    Context("finance", (Account, FiscalCalendar, ApprovalPolicy, JournalEntry), FINANCE_HANDLERS, FINANCE),
)


def aggregates() -> list[type[Aggregate]]:
    """Every aggregate class of the system."""
    return [aggregate for context in CONTEXTS for aggregate in context.aggregates]


def handlers() -> dict[type[Command], Handler]:
    """Every command with its handler."""
    return {command: handler for context in CONTEXTS for command, handler in context.handlers.items()}


def projections() -> list[Projection]:
    """Every projection of the system."""
    return [projection for context in CONTEXTS for projection in context.projections]
