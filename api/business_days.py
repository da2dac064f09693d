"""Days of the business in query parameters, and which are meant where the client names none."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Final, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from api.ports import Store
from api.report_routes import KnownAtParams, ReportParams
from commands.fields import BusinessDate
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id

_YEARS: Final = (1900, 2299)
"""Those that fiscal years can be opened for, and ClickHouse can keep days of."""


def _of_those_years(day: date) -> date:
    if not _YEARS[0] <= day.year <= _YEARS[1]:
        raise ValueError(f"Input should be a day of the years {_YEARS[0]} to {_YEARS[1]}")
    return day


Day = Annotated[BusinessDate, AfterValidator(_of_those_years)]


class AsOfParams(KnownAtParams):
    """Of a report about the end of a day."""

    told_names = ("as_of", "known_at")

    as_of: Day | None = Field(
        default=None,
        description="The last day that counts. Without it the last one of the fiscal year that goes on.",
    )

    async def completed(self, store: Store, tenant: UUID) -> Self:
        """These, with the end of the fiscal year where no day is given."""
        if self.as_of is not None:
            return self
        _, end = await fiscal_year(store, tenant, today())
        return self.model_copy(update={"as_of": end})


class FromToParams(ReportParams):
    """Of a report about the time from one day to another."""

    told_names: ClassVar[tuple[str, ...]] = ("from", "to")

    from_: Day | None = Field(default=None, alias="from", description="The first day that counts.")
    to: Day | None = Field(default=None, description="The last day that counts.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ is not None and self.to is not None and self.from_ > self.to:
            raise ValueError("`from` is after `to`")
        return self

    def arguments(self) -> dict[str, Any]:
        """The days under the names that questions give them."""
        return {"first": self.from_, "last": self.to}


def today() -> date:
    """In UTC."""
    return datetime.now(UTC).date()


async def fiscal_year(store: Store, tenant: UUID, day: date) -> tuple[date, date]:
    """First and last day of the fiscal year that holds the day, else of the last; without any, the day."""
    calendar = await store.load_current(FiscalCalendar, calendar_id(tenant), tenant)
    if not calendar.periods:
        return day, day
    number = next(
        (each.year for each in calendar.periods if each.start <= day <= each.end), calendar.periods[-1].year
    )
    year = [each for each in calendar.periods if each.year == number]
    return year[0].start, year[-1].end
