"""The fiscal calendar: commands and handlers."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from commands.bus import Command, Handler, Work
from commands.fields import BusinessDate, FixedPermission, Reason
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id

PeriodName = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
# The years that a 32-bit date of the read side can hold.
Year = Annotated[int, Field(strict=True, ge=1900, le=2299)]


class OpenFiscalYear(FixedPermission):
    """Open the twelve monthly periods of a fiscal year."""

    TOPIC = "finance.open_fiscal_year"
    needs = "finance.periods:write"
    creates = True

    year: Year
    start: BusinessDate
    """First day of a month, in the calendar year `year` or the one before."""


class ClosePeriod(FixedPermission):
    """End postings to the first open period."""

    TOPIC = "finance.close_period"
    needs = "finance.periods:write"

    period: PeriodName
    reason: Reason | None = None


class ReopenPeriod(FixedPermission):
    """Allow postings to the last closed period again."""

    TOPIC = "finance.reopen_period"
    needs = "finance.periods:write"

    period: PeriodName
    reason: Reason | None = None


class LockPeriod(FixedPermission):
    """End postings to the first closed period for good."""

    TOPIC = "finance.lock_period"
    needs = "finance.periods:write"

    period: PeriodName
    reason: Reason | None = None


async def open_fiscal_year(command: OpenFiscalYear, work: Work) -> FiscalCalendar:
    """See `FiscalCalendar.open_year`."""
    calendar = await work.edit(FiscalCalendar, calendar_id(work.tenant))
    calendar.open_year(command.year, command.start)
    return calendar


async def close_period(command: ClosePeriod, work: Work) -> FiscalCalendar:
    """See `FiscalCalendar.close_period`."""
    calendar = await work.edit(FiscalCalendar, calendar_id(work.tenant))
    calendar.close_period(command.period)
    return calendar


async def reopen_period(command: ReopenPeriod, work: Work) -> FiscalCalendar:
    """See `FiscalCalendar.reopen_period`."""
    calendar = await work.edit(FiscalCalendar, calendar_id(work.tenant))
    calendar.reopen_period(command.period)
    return calendar


async def lock_period(command: LockPeriod, work: Work) -> FiscalCalendar:
    """See `FiscalCalendar.lock_period`."""
    calendar = await work.edit(FiscalCalendar, calendar_id(work.tenant))
    calendar.lock_period(command.period)
    return calendar


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    OpenFiscalYear: open_fiscal_year,
    ClosePeriod: close_period,
    ReopenPeriod: reopen_period,
    LockPeriod: lock_period,
}
