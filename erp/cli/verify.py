"""`erp verify`: whether the log is what was written."""

import click

from erp.cli import Failure
from erp.cli.database import database
from erp.cli.progress import progress
from erp.settings import load_settings


@click.command()
def verify() -> None:
    """Recompute every leaf hash and check that nothing is missing; name the first event that does not fit."""
    from erp.contexts import aggregates
    from eventstore.codec import Codec
    from eventstore.verify import count_events
    from eventstore.verify import verify as verify_log

    settings = load_settings()
    with database(settings):
        url = settings.postgres.need("reader_url")
        with progress("verifying events", count_events(url)) as advance:
            result = verify_log(url, Codec(aggregates()), aggregates(), advance)
    if result.misfit is not None:
        raise Failure(f"position {result.misfit.position} does not fit: {result.misfit.reason}")
    looked_at = f"{result.events:,} events in {result.streams:,} streams and {result.snapshots:,} snapshots"
    click.echo(f"{looked_at}: all as they were written")
