"""Making a tenant: its row, and the books it starts with."""

from contextlib import suppress
from datetime import date, datetime
from importlib.resources import files
from zoneinfo import ZoneInfo

from commands.errors import IdempotencyKeyReused
from commands.finance import OpenFiscalYear
from erp.bootstrap import running_command_side
from erp.imports import read_accounts
from erp.operator import Operator
from erp.settings import Settings
from eventstore.tenants import register_tenant

_USER = "erp-setup"


async def create_tenant(settings: Settings, name: str, *, chart: str, currency: str, timezone: str) -> bool:
    """Make the tenant, with the `standard` chart and this year's periods or with nothing (`none`).

    Returns whether it is new. Asked again, it completes what an interrupted run has left undone, and changes
    nothing else.
    """
    tenant, made = register_tenant(
        settings.postgres.need("owner_url"), name, base_currency=currency, time_zone=timezone
    )
    if chart == "standard":
        today = datetime.now(ZoneInfo(tenant.time_zone)).date()
        async with running_command_side(settings) as side:
            await _open_standard_books(Operator(side.bus, tenant.tenant, user=_USER), today)
    return made


async def _open_standard_books(operator: Operator, today: date) -> None:
    with files("erp").joinpath("standard_chart.csv").open("r", encoding="utf-8") as chart:
        accounts = {account.code: account for account in read_accounts(chart)}
    year = OpenFiscalYear(year=today.year, start=date(today.year, 1, 1))
    for step, command in [*accounts.items(), ("first-year", year)]:
        # The keys are the same in every run, so what an earlier run did stays, even if today it would be
        # done otherwise.
        with suppress(IdempotencyKeyReused):
            await operator.execute(command, idempotency_key=f"standard-chart/{step}")
