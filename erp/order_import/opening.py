"""What has to be there before the first order: accounts to book on, periods, items, goods."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from commands.bus import Answer
from commands.finance import OpenFiscalYear
from commands.inventory import ReceiveStock, RegisterItem
from domain.finance.account_mapping import AccountMapping, account_mapping_id
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from domain.shared.errors import DomainError
from domain.shared.money import minor_units
from erp.order_import.carrying import Carrier, NotPossible, for_all
from erp.order_import.plan import Goods, Plan

COST_OF_PRICE: Final = Decimal("0.6")
"""What opening stock costs, of the lowest price that its item is sold at in the file."""

_AT_ONCE_MAX: Final = 64


class NotReady(Exception):
    """The books of the tenant cannot take orders yet."""


async def require_ready(carrier: Carrier) -> None:
    """Return if vouchers can be posted.

    Raises:
        NotReady: something has to be set up first.
    """
    if not (await carrier.look(AccountMapping, account_mapping_id(carrier.tenant))).exists:
        raise NotReady("the tenant has not said which accounts to book on: PUT /v1/finance/account-mapping")
    today = datetime.now(UTC).date()
    try:
        (await carrier.look(FiscalCalendar, calendar_id(carrier.tenant))).require_open(today)
    except DomainError as error:
        raise NotReady(
            f"money is booked on the day on which it comes, which is today: {error.detail}"
        ) from None


async def open_years(carrier: Carrier, days: Iterable[date]) -> None:
    """Open the fiscal years of days that are in none, from January on. Where that cannot be, the lines of
    these days will be refused.
    """
    calendar = await carrier.look(FiscalCalendar, calendar_id(carrier.tenant))
    for year in sorted({day.year for day in days if calendar.period_of(day) is None}):
        with suppress(NotPossible):
            await carrier.do(OpenFiscalYear, f"year/{year}", year=year, start=date(year, 1, 1))


async def stock_up(carrier: Carrier, plan: Plan, *, warehouse: str, currency: str, receive: bool) -> int:
    """Register the items of the plan, and receive what it will sell if that is wanted.

    Returns a position that is before every order of the plan, also if an earlier import has placed it.
    """
    wanted = sorted(plan.goods.items())

    async def register(each: tuple[str, Goods]) -> int:
        answer = await _register(carrier, *each, currency)
        return answer.position - 1 if answer else 0

    positions = await for_all(wanted, register, at_once=_AT_ONCE_MAX)
    if receive and plan.days:

        async def take_in(each: tuple[str, Goods]) -> None:
            await _receive(carrier, *each, warehouse, cost_of(each[1], currency), on=plan.days[0])

        sold = [each for each in wanted if each[1].demand and each[1].lowest_price is not None]
        await for_all(sold, take_in, at_once=_AT_ONCE_MAX)
    return min(positions, default=0)


async def _register(carrier: Carrier, sku: str, goods: Goods, currency: str) -> Answer | None:
    # One that is there already, by whatever name, is the item that is meant.
    with suppress(NotPossible):
        return await carrier.do(
            RegisterItem,
            f"item/{sku}",
            sku=sku,
            name=goods.name or sku,
            unit="pcs",
            valuation="moving_average",
            currency=currency,
        )
    return None


async def _receive(
    carrier: Carrier, sku: str, goods: Goods, warehouse: str, unit_cost: Decimal, *, on: date
) -> None:
    # What is refused shows where the goods are missing. The first invoice in the key tells files apart; for
    # the same file with other quantities nothing is received on top.
    with suppress(NotPossible):
        await carrier.do(
            ReceiveStock,
            f"opening/{warehouse}/{sku}/{goods.first_invoice}",
            warehouse=warehouse,
            sku=sku,
            quantity=f"{goods.demand:f}",
            unit_cost=f"{unit_cost:f}",
            reference="opening stock",
            effective_at=on,
        )


def cost_of(goods: Goods, currency: str) -> Decimal:
    """What one of them costs in opening stock, in the currency's minor unit; nothing without a price."""
    unit = Decimal(1).scaleb(-minor_units(currency))
    return ((goods.lowest_price or Decimal(0)) * COST_OF_PRICE).quantize(unit, ROUND_HALF_EVEN)
