"""`erp token`: a JWT for a user of a tenant, signed with the first key that can sign. Needs no database."""

import click

from erp.settings import load_settings

DAY_S = 24 * 3600


def _parts(_context: click.Context, _option: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _known_roles(context: click.Context, option: click.Parameter, text: str) -> tuple[str, ...]:
    from commands.permissions import ROLES

    roles = _parts(context, option, text)
    for role in roles:
        if role not in ROLES:
            raise click.BadParameter(f"{role!r} is no role; there are {', '.join(ROLES)}")
    return roles


@click.command()
@click.option("--tenant", required=True, help="The tenant's name.")
@click.option("--user", required=True, help="Who acts; is recorded with every event.")
@click.option("--roles", default="", callback=_known_roles, help="Comma-separated: accountant,controller")
@click.option("--permissions", default="", callback=_parts, help="Beyond the roles: finance.accounts:read,…")
@click.option("--ttl-s", type=click.IntRange(1, 366 * DAY_S), default=DAY_S, show_default=True)
def token(tenant: str, user: str, roles: tuple[str, ...], permissions: tuple[str, ...], ttl_s: int) -> None:
    """Print a token as the last line."""
    from erp.tokens import issue_token

    settings = load_settings()
    click.echo(
        issue_token(settings, tenant=tenant, user=user, roles=roles, permissions=permissions, ttl_s=ttl_s)
    )
