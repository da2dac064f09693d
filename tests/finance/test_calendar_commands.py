"""Fiscal years and periods through bus and store."""

from datetime import date

import pytest

from commands.finance import ClosePeriod, LockPeriod, OpenFiscalYear, ReopenPeriod
from domain.finance.fiscal_calendar import FiscalCalendar, PeriodStatus, calendar_id
from tests.dsl import Company, happened
from tests.finance.history import YEAR_2026

pytestmark = pytest.mark.integration

CLOSE_1 = ClosePeriod(period="2026-01")
CLOSE_2 = ClosePeriod(period="2026-02")


async def test_a_year_opens_with_twelve_periods(company: Company):
    answer = await company.when(YEAR_2026).then(
        happened(FiscalCalendar.YearOpened, year=2026, start=date(2026, 1, 1))
    )
    assert answer.id == calendar_id(company.tenant)
    calendar = await company.load(FiscalCalendar, answer.id)
    assert [period.name for period in calendar.periods] == [f"2026-{month:02}" for month in range(1, 13)]


async def test_a_year_opens_once(company: Company):
    await company.given(YEAR_2026).when(YEAR_2026).refused("finance.year_exists")


async def test_years_do_not_overlap(company: Company):
    early_2027 = OpenFiscalYear(year=2027, start=date(2026, 12, 1))
    refusal = await company.given(YEAR_2026).when(early_2027).refused("finance.years_overlap")
    assert refusal.data == {"year": 2027, "overlaps": 2026}


async def test_opening_a_year_twice_under_one_key_opens_it_once(company: Company):
    await company.when(YEAR_2026).repeated()


async def test_the_first_open_period_closes(company: Company):
    await (
        company.given(YEAR_2026, CLOSE_1)
        .when(CLOSE_2)
        .then(happened(FiscalCalendar.PeriodClosed, period="2026-02"))
    )


async def test_a_later_period_waits_for_its_turn(company: Company):
    refusal = await company.given(YEAR_2026).when(CLOSE_2).refused("finance.period_out_of_order")
    assert refusal.data == {"period": "2026-02", "next": "2026-01"}


async def test_closing_twice_under_one_key_closes_once(company: Company):
    await company.given(YEAR_2026).when(CLOSE_1).repeated()


async def test_the_last_closed_period_reopens(company: Company):
    answer = (
        await company.given(YEAR_2026, CLOSE_1, CLOSE_2)
        .when(ReopenPeriod(period="2026-02", reason="late invoice"))
        .then(happened(FiscalCalendar.PeriodReopened, period="2026-02"))
    )
    calendar = await company.load(FiscalCalendar, answer.id)
    assert [period.status for period in calendar.periods[:2]] == [PeriodStatus.CLOSED, PeriodStatus.OPEN]


async def test_an_earlier_period_does_not_reopen(company: Company):
    await (
        company.given(YEAR_2026, CLOSE_1, CLOSE_2)
        .when(ReopenPeriod(period="2026-01"))
        .refused("finance.period_out_of_order")
    )


async def test_reopening_twice_under_one_key_reopens_once(company: Company):
    await company.given(YEAR_2026, CLOSE_1).when(ReopenPeriod(period="2026-01")).repeated()


async def test_a_closed_period_locks(company: Company):
    await (
        company.given(YEAR_2026, CLOSE_1)
        .when(LockPeriod(period="2026-01"))
        .then(happened(FiscalCalendar.PeriodLocked, period="2026-01"))
    )


async def test_an_open_period_does_not_lock(company: Company):
    await company.given(YEAR_2026).when(LockPeriod(period="2026-01")).refused("finance.period_not_closed")


async def test_a_locked_period_never_reopens(company: Company):
    await (
        company.given(YEAR_2026, CLOSE_1, LockPeriod(period="2026-01"))
        .when(ReopenPeriod(period="2026-01"))
        .refused("finance.period_locked")
    )


async def test_locking_twice_under_one_key_locks_once(company: Company):
    await company.given(YEAR_2026, CLOSE_1).when(LockPeriod(period="2026-01")).repeated()


async def test_a_period_that_is_not_there(company: Company):
    await company.given(YEAR_2026).when(ClosePeriod(period="2027-01")).refused("finance.period_not_found")
