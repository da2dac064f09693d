"""`erp import accounts|journal|orders`: files into the books."""

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from erp.cli import Failure, run
from erp.cli.database import database
from erp.cli.progress import progress
from erp.settings import Settings, load_settings

if TYPE_CHECKING:
    from erp.imports import Kind
    from erp.order_import.books import Options
    from erp.order_import.plan import Plan
    from erp.order_import.report import Report

_REFUSALS_SHOWN_MAX = 100

FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
TENANT = click.option("--tenant", required=True, help="Into whose books.")
USER = click.option("--user", default="erp-import", show_default=True, help="Recorded as the one who did it.")
PROGRESS = click.option("--progress", "shown", is_flag=True, help="Show how far it has come.")


@click.group(name="import")
def imports() -> None:
    """Files into the books; an import that was interrupted is simply started again."""


@imports.command()
@FILE
@TENANT
@USER
@PROGRESS
def accounts(file: Path, tenant: str, user: str, *, shown: bool) -> None:
    """Accounts from a CSV FILE: code,name,type,parent,currencies; parents before their children."""
    from erp.imports import ACCOUNTS

    _import(ACCOUNTS, file, tenant, user, shown=shown)


@imports.command()
@FILE
@TENANT
@USER
@PROGRESS
def journal(file: Path, tenant: str, user: str, *, shown: bool) -> None:
    """Journal entries from an NDJSON FILE: a line is the body of POST /v1/finance/journal-entries."""
    from erp.imports import JOURNAL

    _import(JOURNAL, file, tenant, user, shown=shown)


@imports.command()
@FILE
@TENANT
@click.option("--warehouse", default="main", show_default=True, help="That everything is shipped from.")
@click.option("--currency", help="Of the prices.  [the tenant's base currency]")
@click.option(
    "--opening-stock",
    type=click.Choice(["none", "auto"]),
    default="none",
    show_default=True,
    help="auto: receive beforehand what the file will sell.",
)
@click.option(
    "--report",
    "to",
    type=click.File("w", encoding="utf-8"),
    help="Every line that is not in the books, as NDJSON.",
)
@click.option(
    "--patience-s",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    help="How long the sagas may do nothing at all.",
)
@USER
@PROGRESS
def orders(
    *,
    file: Path,
    tenant: str,
    warehouse: str,
    currency: str | None,
    opening_stock: str,
    to: TextIO | None,
    patience_s: float,
    user: str,
    shown: bool,
) -> None:
    """Invoices of a shop from an NDJSON FILE, as orders that are placed, paid, shipped and booked.

    The sagas have to run: `erp up`, or `erp worker --role saga`.
    """
    from domain.shared.money import CURRENCIES
    from erp.order_import.books import Options

    settings = load_settings()
    if settings.payments.gateway != "simulated":
        raise Failure("orders are imported with the simulated gateway only: real cards are not charged again")
    if currency is not None and currency not in CURRENCIES:
        raise click.UsageError(f"{currency} is no currency of ISO 4217")
    with ExitStack() as stack:
        stack.enter_context(database(settings))
        source = stack.enter_context(file.open(encoding="utf-8"))
        currency = currency or _base_currency(settings, tenant)
        options = Options(warehouse, currency, opening_stock=opening_stock == "auto", patience_s=patience_s)
        plan = _plan(source, currency)
        report = run(_carry_out_orders(settings, plan, options, tenant, user, shown=shown))
    if to is not None:
        report.write(to)
    for line in report.summary():
        click.echo(line)
    if report.refused:
        raise Failure(f"{len(report.refused):,} lines are not in the books")


def _base_currency(settings: Settings, name: str) -> str:
    from eventstore.tenants import list_tenants

    for each in list_tenants(settings.postgres.need("reader_url")):
        if each.name == name:
            return each.base_currency
    raise Failure(f"there is no tenant {name}")


def _plan(source: TextIO, currency: str) -> "Plan":
    """What is to be done about the file. All of it is read before anything is done."""
    from erp.imports import MalformedFile
    from erp.order_import.file import read
    from erp.order_import.plan import make_plan

    try:
        return make_plan(read(source), currency=currency)
    except (MalformedFile, UnicodeDecodeError) as error:
        raise Failure(f"{source.name}: {error}") from None


async def _carry_out_orders(
    settings: Settings, plan: "Plan", options: "Options", tenant: str, user: str, *, shown: bool
) -> "Report":
    from erp.bootstrap import running_command_side
    from erp.operator import Operator
    from erp.order_import.books import OrderImport
    from erp.order_import.opening import NotReady
    from erp.order_import.watch import Standstill

    async with running_command_side(settings) as side:
        tenant_id = await side.store.find_tenant(tenant)
        if tenant_id is None:
            raise Failure(f"there is no tenant {tenant}")
        operator = Operator(side.bus, tenant_id, user=user)
        with progress("importing lines", plan.lines) if shown else nullcontext(_silent) as advance:
            try:
                return await OrderImport(operator, side.store, tenant_id, options, advance).run(plan)
            except (NotReady, Standstill) as error:
                raise Failure(str(error)) from None


def _import(kind: "Kind", file: Path, tenant: str, user: str, *, shown: bool) -> None:
    settings = load_settings()
    with database(settings), file.open(encoding="utf-8", newline="") as source:
        refused = run(_carry_out(settings, kind, source, tenant, user, shown=shown))
    if refused:
        raise Failure(f"{refused:,} rows were refused; the others are in the books")


def _silent(_count: int = 1, /) -> None:
    """No progress is wanted."""


async def _carry_out(
    settings: Settings, kind: "Kind", source: TextIO, tenant: str, user: str, *, shown: bool
) -> int:
    """Import the file, print what was refused and why, and return how many rows that were."""
    from erp.bootstrap import running_command_side
    from erp.imports import MalformedFile, import_rows
    from erp.operator import Operator

    imported = replayed = refused = 0
    async with running_command_side(settings) as side:
        tenant_id = await side.store.find_tenant(tenant)
        if tenant_id is None:
            raise Failure(f"there is no tenant {tenant}")
        operator = Operator(side.bus, tenant_id, user=user)
        with progress(f"importing {kind.name}") if shown else nullcontext(_silent) as advance:
            try:
                async for outcome in import_rows(operator, kind, source):
                    advance()
                    imported += not outcome.refusal and not outcome.replayed
                    replayed += outcome.replayed
                    refused += bool(outcome.refusal)
                    if outcome.refusal and refused <= _REFUSALS_SHOWN_MAX:
                        click.echo(f"row {outcome.row}: {outcome.refusal}")
            except (MalformedFile, UnicodeDecodeError) as error:
                raise Failure(f"{source.name}: {error}") from None
    click.echo(
        f"{kind.name}: {imported:,} imported, {replayed:,} were in the books already, {refused:,} refused"
    )
    return refused
