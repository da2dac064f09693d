"""The database for the duration of a verb: attached to while `erp up` runs, started when it does not."""

from collections.abc import Iterator
from contextlib import contextmanager

from erp.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[None]:
    """Postgres is there, at the URLs of these settings.

    An embedded one has this version's schema too; a deployed one is migrated by its owner: `erp migrate`.

    Raises:
        PostgresError: the embedded server cannot be started.
        SchemaTooNew: a newer version has used this home.
    """
    if not settings.embedded:
        yield
        return
    from erp.embedded.postgres import EmbeddedPostgres
    from eventstore.migrate import migrate

    with EmbeddedPostgres(settings.home):
        migrate(settings.postgres.need("owner_url"))
        yield
