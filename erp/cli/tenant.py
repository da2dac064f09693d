"""`erp tenant create|list`: the companies whose books are kept here."""

import re
import zoneinfo

import click

from domain.shared.money import CURRENCIES
from erp.cli import run
from erp.cli.database import database
from erp.settings import load_settings


@click.group()
def tenant() -> None:
    """Companies: make one, list them."""


def _known_timezone(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if name not in zoneinfo.available_timezones():
        raise click.BadParameter(f"{name!r} is no time zone; they are named like Europe/Vienna")
    return name


def _valid_name(_context: click.Context, _argument: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", name):
        raise click.BadParameter(
            "letters, digits, space, dot, underscore and hyphen; 64 at most, a letter or digit first"
        )
    return name


def _known_currency(_context: click.Context, _option: click.Parameter, code: str) -> str:
    if code not in CURRENCIES:
        raise click.BadParameter(f"{code!r} is no currency of ISO 4217")
    return code


@tenant.command()
@click.argument("name", callback=_valid_name)
@click.option(
    "--chart",
    type=click.Choice(["standard", "none"]),
    default="standard",
    show_default=True,
    help="standard: a small chart of accounts, their mapping, and this year's periods.",
)
@click.option(
    "--currency", default="EUR", show_default=True, callback=_known_currency, help="Base currency, ISO 4217."
)
@click.option("--timezone", default="UTC", show_default=True, callback=_known_timezone, help="IANA name.")
def create(name: str, chart: str, currency: str, timezone: str) -> None:
    """Make the tenant NAME. One that is there already is completed if need be, and else stays as it is."""
    from erp.tenants import create_tenant

    settings = load_settings()
    with database(settings):
        made = run(create_tenant(settings, name, chart=chart, currency=currency, timezone=timezone))
    click.echo(f"tenant {name}: {'created' if made else 'is there already, unchanged'}")


@tenant.command("list")
def list_() -> None:
    """One line each: name, base currency, time zone."""
    from eventstore.tenants import list_tenants

    settings = load_settings()
    with database(settings):
        found = list_tenants(settings.postgres.need("reader_url"))
    for each in found:
        click.echo(f"{each.name}\t{each.base_currency}\t{each.time_zone}")
