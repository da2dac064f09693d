"""The fiscal calendar: every fiscal year of a tenant with its twelve monthly periods, in one stream.

One stream, because the order of closing and the search for the period of a date span all years.

    open ⇄ closed → locked        close in order; reopen only the last closed; lock in order and for good

DomainError
├── YearExists, YearsOverlap, YearStartInvalid   a year that cannot be opened
├── PeriodNotFound                               no period of this name
├── NoPeriod                                     no period holds this date
├── PeriodIsClosed                               it takes no postings
├── PeriodNotOpen, PeriodNotClosed               it is not in the state that the step starts from
├── PeriodIsLocked                               it never changes again
└── PeriodOutOfOrder                             another period comes first
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import ClassVar, Final
from uuid import UUID

from domain.shared.aggregate import Aggregate, event
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id

MONTHS_IN_YEAR: Final = 12


class PeriodStatus(StrEnum):
    """How far a period's books are closed."""

    OPEN = "open"
    CLOSED = "closed"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Period:
    """One month of a fiscal year, from `start` to `end`, both included."""

    name: str
    year: int
    start: date
    end: date
    status: PeriodStatus = PeriodStatus.OPEN


class YearExists(DomainError):
    """The fiscal year was opened before."""

    code: ClassVar[str] = "finance.year_exists"


class YearsOverlap(DomainError):
    """A day would belong to two fiscal years."""

    code: ClassVar[str] = "finance.years_overlap"


class YearStartInvalid(DomainError):
    """A fiscal year starts with a month of the calendar year that it is named after, or of the one before."""

    code: ClassVar[str] = "finance.year_start_invalid"


class PeriodNotFound(DomainError):
    """There is no period of this name."""

    code: ClassVar[str] = "finance.period_not_found"


class NoPeriod(DomainError):
    """The date lies in no period."""

    code: ClassVar[str] = "finance.no_period"


class PeriodIsClosed(DomainError):
    """The period takes no postings."""

    code: ClassVar[str] = "finance.period_closed"


class PeriodNotOpen(DomainError):
    """Only an open period can be closed."""

    code: ClassVar[str] = "finance.period_not_open"


class PeriodNotClosed(DomainError):
    """Only a closed period can be reopened or locked."""

    code: ClassVar[str] = "finance.period_not_closed"


class PeriodIsLocked(DomainError):
    """A locked period never changes again."""

    code: ClassVar[str] = "finance.period_locked"


class PeriodOutOfOrder(DomainError):
    """Another period has to go first."""

    code: ClassVar[str] = "finance.period_out_of_order"


class FiscalCalendar(Aggregate):
    """All fiscal years of a tenant."""

    TOPIC = "finance.fiscal_calendar"

    periods: tuple[Period, ...] = ()
    """In order of time."""

    class YearOpened(Aggregate.Event):
        """Twelve monthly periods from `start` on were opened."""

        TOPIC = "finance.fiscal_calendar.year_opened"
        year: int
        start: date

    class PeriodClosed(Aggregate.Event):
        """The period takes no postings for now."""

        TOPIC = "finance.fiscal_calendar.period_closed"
        period: str

    class PeriodReopened(Aggregate.Event):
        """The period takes postings again."""

        TOPIC = "finance.fiscal_calendar.period_reopened"
        period: str

    class PeriodLocked(Aggregate.Event):
        """The period takes no postings ever again."""

        TOPIC = "finance.fiscal_calendar.period_locked"
        period: str

    def open_year(self, year: int, start: date) -> None:
        """Open the twelve monthly periods of a fiscal year.

        Raises:
            DomainError: the start fits no fiscal year, a day is taken, or later books are closed already.
        """
        if any(period.year == year for period in self.periods):
            raise YearExists(f"Fiscal year {year} exists already.", year=year)
        if start.day != 1 or start.year not in {year - 1, year}:
            detail = f"Fiscal year {year} has to start with a month of {year - 1} or {year}, not on {start}."
            raise YearStartInvalid(detail, year=year, start=start.isoformat())
        self._require_days_free(year, start)
        self._require_nothing_later_closed(year, start)
        self._year_opened(year, start)

    def close_period(self, name: str) -> None:
        """End postings to the first open period.

        Raises:
            DomainError: there is no such period, it is not open, or an earlier one is.
        """
        period = self._not_locked(name)
        if period.status is not PeriodStatus.OPEN:
            raise PeriodNotOpen(f"Period {name} is closed already.", period=name, period_status=period.status)
        self._require_turn(name, self._first(PeriodStatus.OPEN), "closed")
        self._period_closed(name)

    def reopen_period(self, name: str) -> None:
        """Allow postings to the last closed period again.

        Raises:
            DomainError: there is no such period, it is not closed, or a later one is.
        """
        self._require_closed(self._not_locked(name))
        last_closed = [period for period in self.periods if period.status is PeriodStatus.CLOSED][-1]
        self._require_turn(name, last_closed, "reopened")
        self._period_reopened(name)

    def lock_period(self, name: str) -> None:
        """End postings to the first closed period for good.

        Raises:
            DomainError: there is no such period, it is not closed, or an earlier one is not locked.
        """
        self._require_closed(self._not_locked(name))
        self._require_turn(name, self._first(PeriodStatus.CLOSED), "locked")
        self._period_locked(name)

    def require_open(self, day: date) -> Period:
        """The open period that `day` lies in.

        Raises:
            DomainError: it lies in none, or in one that takes no postings.
        """
        period = self.period_of(day)
        if period is None:
            raise NoPeriod(f"{day} lies in no period of the fiscal calendar.", date=day.isoformat())
        if period.status is not PeriodStatus.OPEN:
            raise _is_closed(period, day)
        return period

    def require_not_locked(self, day: date) -> None:
        """A posting on `day` may have to wait for its period, but not for ever.

        Raises:
            PeriodIsClosed: its period is locked.
        """
        period = self.period_of(day)
        if period is not None and period.status is PeriodStatus.LOCKED:
            raise _is_closed(period, day)

    def first_open_day(self, since: date) -> date:
        """The first day from `since` on that takes postings; when there is none, the last one that does.

        Raises:
            NoPeriod: no day at all takes postings.
        """
        days = [(period.start, period.end) for period in self.periods if period.status is PeriodStatus.OPEN]
        if not days:
            raise NoPeriod(f"No period is open on {since} or later.", date=since.isoformat())
        return next((max(first, since) for first, last in days if last >= since), days[-1][1])

    def period_of(self, day: date) -> Period | None:
        """The period that `day` lies in, if any."""
        index = bisect_right(self.periods, day, key=_start) - 1
        if index < 0 or day > self.periods[index].end:
            return None
        return self.periods[index]

    def _require_days_free(self, year: int, start: date) -> None:
        end = _months(year, start)[-1].end
        for period in self.periods:
            if period.start <= end and start <= period.end:
                detail = f"Fiscal year {year} from {start} to {end} overlaps fiscal year {period.year}."
                raise YearsOverlap(detail, year=year, overlaps=period.year)

    def _require_nothing_later_closed(self, year: int, start: date) -> None:
        """Closing in order would otherwise be broken by a year that is slipped in before."""
        for period in self.periods:
            if period.start > start and period.status is not PeriodStatus.OPEN:
                detail = f"Fiscal year {year} would precede period {period.name}, which is {period.status}."
                raise PeriodOutOfOrder(detail, year=year, period=period.name)

    def _not_locked(self, name: str) -> Period:
        for period in self.periods:
            if period.name == name:
                if period.status is PeriodStatus.LOCKED:
                    raise PeriodIsLocked(f"Period {name} is locked for good.", period=name)
                return period
        raise PeriodNotFound(f"There is no period {name}.", period=name)

    def _require_closed(self, period: Period) -> None:
        if period.status is not PeriodStatus.CLOSED:
            raise PeriodNotClosed(
                f"Period {period.name} is not closed.", period=period.name, period_status=period.status
            )

    def _require_turn(self, name: str, due: Period, step: str) -> None:
        if due.name != name:
            detail = f"Period {due.name} has to be {step} before {name}."
            raise PeriodOutOfOrder(detail, period=name, next=due.name)

    def _first(self, status: PeriodStatus) -> Period:
        return next(period for period in self.periods if period.status is status)

    @event(YearOpened)
    def _year_opened(self, year: int, start: date) -> None:
        self.periods = tuple(sorted((*self.periods, *_months(year, start)), key=_start))

    @event(PeriodClosed)
    def _period_closed(self, period: str) -> None:
        self.periods = _with_status(self.periods, period, PeriodStatus.CLOSED)

    @event(PeriodReopened)
    def _period_reopened(self, period: str) -> None:
        self.periods = _with_status(self.periods, period, PeriodStatus.OPEN)

    @event(PeriodLocked)
    def _period_locked(self, period: str) -> None:
        self.periods = _with_status(self.periods, period, PeriodStatus.LOCKED)


def _is_closed(period: Period, day: date) -> PeriodIsClosed:
    detail = f"Period {period.name} is {period.status} and takes no postings."
    return PeriodIsClosed(detail, period=period.name, period_status=period.status, date=day.isoformat())


def calendar_id(tenant: UUID) -> UUID:
    """The stream of the tenant's only calendar."""
    return natural_id(tenant, FiscalCalendar.TOPIC)


def _months(year: int, start: date) -> list[Period]:
    first_month = start.year * MONTHS_IN_YEAR + start.month - 1
    starts = [
        date(month // MONTHS_IN_YEAR, month % MONTHS_IN_YEAR + 1, 1)
        for month in range(first_month, first_month + MONTHS_IN_YEAR + 1)
    ]
    return [
        Period(f"{year:04}-{number:02}", year, first, following - timedelta(days=1))
        for number, (first, following) in enumerate(pairwise(starts), start=1)
    ]


def _with_status(periods: tuple[Period, ...], name: str, status: PeriodStatus) -> tuple[Period, ...]:
    return tuple(replace(period, status=status) if period.name == name else period for period in periods)


def _start(period: Period) -> date:
    return period.start
