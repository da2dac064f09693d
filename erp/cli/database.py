"""The database for the duration of a verb: attached to while `erp up` runs, started when it does not."""

from collections.abc import Iterator
from contextlib import contextmanager

from erp.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[None]:
    """Postgres is there, at the URLs of these settings.

    It has exactly this version's schema: an embedded one is migrated here, a deployed one by its owner with
    `erp migrate`.

    Raises:
        PostgresError: the embedded server cannot be started.
        SchemaTooOld: a deployed one has not been migrated.
        SchemaTooNew: a newer version has used the database.
    """
    from eventstore.migrate import migrate, require_current

    if not settings.embedded:
        require_current(settings.postgres.need("url"))
        yield
        return
    from erp.embedded.postgres import EmbeddedPostgres

    with EmbeddedPostgres(settings.home):
        migrate(settings.postgres.need("owner_url"))
        yield
