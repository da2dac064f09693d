"""`erp tenant create|list`: the companies whose books are kept here."""

import asyncio
import zoneinfo

import click

from erp.cli.database import database
from erp.settings import load_settings


@click.group()
def tenant() -> None:
    """Companies: make one, list them."""


def _known_timezone(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if name not in zoneinfo.available_timezones():
        raise click.BadParameter(f"{name!r} is no time zone; they are named like Europe/Vienna")
    return name


@tenant.command()
@click.argument("name")
@click.option(
    "--chart",
    type=click.Choice(["standard", "none"]),
    default="none",
    show_default=True,
    help="standard: a small chart of accounts, and this year's periods.",
)
@click.option("--currency", default="EUR", show_default=True, help="Base currency, ISO 4217.")
@click.option("--timezone", default="UTC", show_default=True, callback=_known_timezone, help="IANA name.")
def create(name: str, chart: str, currency: str, timezone: str) -> None:
    """Make the tenant NAME. One that is there already stays as it is."""
    from erp import tenants

    settings = load_settings()
    with database(settings):
        made = asyncio.run(
            tenants.create_tenant(settings, name, chart=chart, currency=currency, timezone=timezone)
        )
    click.echo(f"tenant {name}: {'created' if made else 'is there already, unchanged'}")


@tenant.command("list")
def list_() -> None:
    """One line each: name, base currency, time zone."""
    from erp import tenants

    settings = load_settings()
    with database(settings):
        found = asyncio.run(tenants.list_tenants(settings))
    for each in found:
        click.echo(f"{each.name}\t{each.currency}\t{each.timezone}")
