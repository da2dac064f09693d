"""`erp verify`: whether the log is what was written, and the books say what the stock is worth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from erp.cli import Failure
from erp.cli.database import database
from erp.cli.progress import progress
from erp.settings import load_settings

if TYPE_CHECKING:
    from erp.stock_books import Difference

_LETTERS_SHOWN_MAX = 5


@click.command()
def verify() -> None:
    """Recompute every leaf hash and check that nothing is missing; name the first event that does not fit.
    Then add up stock and books, and name the inventory accounts that do not agree.
    """
    from erp.contexts import aggregates
    from erp.stock_books import add_up
    from eventstore.codec import Codec
    from eventstore.tenants import list_tenants
    from eventstore.verify import count_events
    from eventstore.verify import verify as verify_log

    settings = load_settings()
    with database(settings):
        url, codec = settings.postgres.need("reader_url"), Codec(aggregates())
        end = count_events(url)
        with progress("verifying events", end) as advance:
            result = verify_log(url, codec, aggregates(), advance)
        if result.misfit is not None:
            raise Failure(f"position {result.misfit.position} does not fit: {result.misfit.reason}")
        with progress("adding up stock and books", end) as advance:
            books = add_up(url, codec, end, advance)
        names = {each.tenant: each.name for each in list_tenants(url)}
    looked_at = f"{result.events:,} events in {result.streams:,} streams and {result.snapshots:,} snapshots"
    click.echo(f"{looked_at}: all as they were written")
    wrong = [each for each in books.differences() if not each.is_explained]
    if wrong:
        raise Failure("; ".join(_said(each, names) for each in wrong))
    for each in books.differences():
        click.echo(f"{_said(each, names)}: vouchers of {each.waiting:f} are on their way or wait")
    click.echo(f"stock and books were compared in {books.companies} companies with stock")


def _said(found: "Difference", names: Mapping[UUID, str]) -> str:
    account = f"account {found.account}" if found.account else "no account at all"
    books, stock = f"{found.books:f} {found.currency}", f"{found.stock:f} {found.currency}"
    difference = f"{account} says {books}, its stock is worth {stock}"
    parked = _letters("parked", [each.letter for each in found.set_aside if each.is_parked])
    discarded = _letters("discarded", [each.letter for each in found.set_aside if not each.is_parked])
    return f"{names.get(found.tenant, found.tenant)}: {difference}{parked}{discarded}"


def _letters(state: str, letters: Sequence[int]) -> str:
    if not letters:
        return ""
    shown = ", ".join(map(str, letters[:_LETTERS_SHOWN_MAX]))
    more = f" and {len(letters) - _LETTERS_SHOWN_MAX} more" if len(letters) > _LETTERS_SHOWN_MAX else ""
    return f" ({state} as dead letter {shown}{more}: erp dead-letters show {letters[0]})"
