"""`erp import accounts|journal`: files into the books."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from erp.cli import Failure, run
from erp.cli.database import database
from erp.cli.progress import progress
from erp.settings import Settings, load_settings

if TYPE_CHECKING:
    from erp.imports import Kind

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
