"""Making a tenant: its row, and the books it starts with."""

from contextlib import suppress
from datetime import date, datetime
from importlib.resources import files
from zoneinfo import ZoneInfo

from commands.errors import IdempotencyKeyReused
from commands.finance import Accounts, OpenFiscalYear, SetAccountMapping
from domain.finance.account import AccountExists
from domain.finance.account_mapping import AccountMapping, account_mapping_id
from domain.shared.errors import DomainError
from erp.bootstrap import running_command_side
from erp.imports import read_accounts
from erp.operator import Operator
from erp.settings import Settings
from eventstore.tenants import register_tenant

_USER = "erp-setup"
_STANDARD = Accounts(
    inventory="1405",
    goods_received_not_invoiced="2203",
    cost_of_goods_sold="6401",
    receivable="1122",
    revenue="6001",
    shipping_revenue="6002",
    tax="2221",
    cash="1002",
    inventory_adjustments="6402",
)


async def create_tenant(settings: Settings, name: str, *, chart: str, currency: str, timezone: str) -> bool:
    """Make the tenant, with the `standard` chart, its mapping and this year's periods, or bare (`none`).

    Returns whether it is new. Asked again, it completes what an interrupted run has left undone, and changes
    nothing else.
    """
    tenant, made = register_tenant(
        settings.postgres.need("owner_url"), name, base_currency=currency, time_zone=timezone
    )
    if chart == "standard":
        today = datetime.now(ZoneInfo(tenant.time_zone)).date()
        async with running_command_side(settings) as side:
            operator = Operator(side.bus, tenant.tenant, user=_USER)
            await _open_standard_books(operator, today)
            mapping = await side.store.load_current(
                AccountMapping, account_mapping_id(tenant.tenant), tenant.tenant
            )
            if not mapping.exists:
                await _map_standard_accounts(operator)
    return made


async def _open_standard_books(operator: Operator, today: date) -> None:
    with files("erp").joinpath("standard_chart.csv").open("r", encoding="utf-8") as chart:
        accounts = {account.code: account for account in read_accounts(chart)}
    year = OpenFiscalYear(year=today.year, start=date(today.year, 1, 1))
    for step, command in [*accounts.items(), ("first-year", year)]:
        # The keys are the same in every run, so what an earlier run did stays, even if today it would be
        # done otherwise; and so do accounts that were opened by hand.
        with suppress(IdempotencyKeyReused, AccountExists):
            await operator.execute(command, idempotency_key=f"standard-chart/{step}")


async def _map_standard_accounts(operator: Operator) -> None:
    # Of an older tenant any of these may be closed or a parent by now: then it is for its controller to say.
    with suppress(DomainError):
        await operator.execute(
            SetAccountMapping(accounts=_STANDARD), idempotency_key="standard-chart/account-mapping"
        )
