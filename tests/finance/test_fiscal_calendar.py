"""The rules of fiscal years and periods."""

from datetime import date, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.finance.fiscal_calendar import FiscalCalendar, PeriodStatus, calendar_id
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from tests.finance.ledger import blank, calendar

OPEN, CLOSED, LOCKED = PeriodStatus.OPEN, PeriodStatus.CLOSED, PeriodStatus.LOCKED


def statuses(kept: FiscalCalendar, count: int) -> list[PeriodStatus]:
    return [period.status for period in kept.periods[:count]]


def refused(attempt) -> DomainError:
    with pytest.raises(DomainError) as refusal:
        attempt()
    return refusal.value


@given(st.integers(1900, 2299), st.booleans(), st.integers(1, 12))
def test_a_year_is_twelve_months_without_a_gap(year: int, same_year: bool, month: int):
    start = date(year if same_year else year - 1, month, 1)
    kept = blank(FiscalCalendar)
    kept.open_year(year, start)
    periods = kept.periods
    assert [period.name for period in periods] == [f"{year}-{number:02}" for number in range(1, 13)]
    assert periods[0].start == start
    assert all(a.end + timedelta(days=1) == b.start for a, b in pairwise(periods))
    assert periods[-1].end + timedelta(days=1) == start.replace(year=start.year + 1)
    assert all(kept.period_of(day) == period for period in periods for day in (period.start, period.end))


@pytest.mark.parametrize("start", [date(2026, 1, 2), date(2024, 12, 1), date(2027, 1, 1)])
def test_a_year_starts_with_a_month_near_its_name(start: date):
    refusal = refused(lambda: calendar().open_year(2026, start))
    assert refusal.code == "finance.year_start_invalid"


def test_a_year_opens_once():
    assert refused(lambda: calendar(2026).open_year(2026, date(2025, 1, 1))).code == "finance.year_exists"


@pytest.mark.parametrize("start", [date(2026, 12, 1), date(2026, 2, 1)])
def test_no_day_belongs_to_two_years(start: date):
    assert refused(lambda: calendar(2026).open_year(2027, start)).code == "finance.years_overlap"


def test_years_are_kept_in_order_of_time():
    kept = calendar(2027, 2025, 2026)
    assert [period.name for period in kept.periods[::12]] == ["2025-01", "2026-01", "2027-01"]


def test_no_year_is_slipped_in_before_closed_books():
    kept = calendar(2026)
    kept.close_period("2026-01")
    refusal = refused(lambda: kept.open_year(2025, date(2025, 1, 1)))
    assert (refusal.code, refusal.data["period"]) == ("finance.period_out_of_order", "2026-01")
    kept.open_year(2027, date(2027, 1, 1))


def test_periods_close_in_order_across_years():
    kept = calendar(2026, 2027)
    for month in range(1, 13):
        kept.close_period(f"2026-{month:02}")
    assert refused(lambda: kept.close_period("2027-02")).data == {"period": "2027-02", "next": "2027-01"}
    kept.close_period("2027-01")
    assert refused(lambda: kept.close_period("2027-01")).code == "finance.period_not_open"


def test_only_the_last_closed_period_reopens():
    kept = calendar(2026)
    kept.close_period("2026-01")
    kept.close_period("2026-02")
    assert refused(lambda: kept.reopen_period("2026-01")).data == {"period": "2026-01", "next": "2026-02"}
    assert refused(lambda: kept.reopen_period("2026-03")).code == "finance.period_not_closed"
    kept.reopen_period("2026-02")
    kept.reopen_period("2026-01")
    assert statuses(kept, 3) == [OPEN, OPEN, OPEN]


def test_periods_lock_in_order_and_for_good():
    kept = calendar(2026)
    kept.close_period("2026-01")
    kept.close_period("2026-02")
    assert refused(lambda: kept.lock_period("2026-02")).data == {"period": "2026-02", "next": "2026-01"}
    assert refused(lambda: kept.lock_period("2026-03")).code == "finance.period_not_closed"
    kept.lock_period("2026-01")
    assert statuses(kept, 3) == [LOCKED, CLOSED, OPEN]
    for step in (kept.close_period, kept.reopen_period, kept.lock_period):
        assert refused(lambda step=step: step("2026-01")).code == "finance.period_locked"


def test_a_period_that_is_not_there():
    assert refused(lambda: calendar(2026).close_period("2027-01")).code == "finance.period_not_found"


def test_a_posting_date_needs_an_open_period():
    kept = calendar(2026)
    assert kept.require_open(date(2026, 12, 31)).name == "2026-12"
    kept.close_period("2026-01")
    refusal = refused(lambda: kept.require_open(date(2026, 1, 31)))
    assert refusal.code == "finance.period_closed"
    assert refusal.data == {"period": "2026-01", "period_status": "closed", "date": "2026-01-31"}
    kept.lock_period("2026-01")
    assert refused(lambda: kept.require_open(date(2026, 1, 1))).data["period_status"] == "locked"
    for day in (date(2025, 12, 31), date(2027, 1, 1)):
        assert refused(lambda day=day: kept.require_open(day)).code == "finance.no_period"
        kept.require_not_locked(day)
    assert refused(lambda: calendar().require_open(date(2026, 1, 1))).code == "finance.no_period"


@given(st.lists(st.tuples(st.sampled_from(["close", "reopen", "lock"]), st.integers(1, 12)), max_size=40))
def test_locked_then_closed_then_open_whatever_is_tried(steps: list[tuple[str, int]]):
    kept = calendar(2026)
    for step, month in steps:
        before = kept.periods
        try:
            getattr(kept, f"{step}_period")(f"2026-{month:02}")
        except DomainError:
            assert kept.periods == before
    order = [LOCKED, CLOSED, OPEN]
    ranks = [order.index(period.status) for period in kept.periods]
    assert ranks == sorted(ranks)


def test_a_tenant_has_one_calendar():
    assert calendar_id(UUID(int=1)) == natural_id(UUID(int=1), "finance.fiscal_calendar")


def test_the_first_open_day():
    """From a day on; after the last one it is that."""
    kept = calendar(2026)
    assert kept.first_open_day(date(2026, 2, 3)) == date(2026, 2, 3)
    assert kept.first_open_day(date(2025, 2, 3)) == date(2026, 1, 1)
    assert kept.first_open_day(date(2027, 2, 3)) == date(2026, 12, 31)
    kept.close_period("2026-01")
    assert kept.first_open_day(date(2026, 1, 15)) == date(2026, 2, 1)
    refusal = refused(lambda: blank(FiscalCalendar).first_open_day(date(2026, 1, 15)))
    assert (refusal.code, refusal.data) == ("finance.no_period", {"date": "2026-01-15"})
