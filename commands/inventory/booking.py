"""What movements of stock need: the item's place, an open period, and the past where they are dated back."""

from datetime import date

from commands.bus import Work
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from domain.inventory.days import day_of
from domain.inventory.goods import Booking
from domain.inventory.item import Item, Shelf, item_id
from domain.inventory.stock import Stock


async def find_shelf(work: Work, warehouse: str, sku: str) -> Shelf:
    """The place of an item in a warehouse.

    Raises:
        ItemNotFound: there is no item of this sku.
    """
    item = await work.read(Item, item_id(work.tenant, sku))
    return item.require_registered(sku).shelf(warehouse)


async def book(
    work: Work, stock: Stock, effective_at: date | None, reference: str, *, delivery: str | None = None
) -> Booking:
    """How a movement of this day, today without one, is booked. `delivery`: the one that comes back by it.

    Raises:
        DomainError: the day is still to come, or in no open period.
    """
    day = day_of(effective_at, work.today)
    return await book_on(work, stock, day, reference, delivery=delivery)


async def book_on(
    work: Work, stock: Stock, day: date, reference: str, *, delivery: str | None = None
) -> Booking:
    """The same for a day that is known to have come.

    Raises:
        DomainError: it is in no open period.
    """
    calendar = await work.read(FiscalCalendar, calendar_id(work.tenant))
    calendar.require_open(day)
    needs_past = stock.is_backdated(day) or (delivery is not None and not stock.remembers(delivery))
    past = await work.history(stock) if needs_past else ()
    return Booking(day, reference, calendar.first_open_day(work.today), past)
