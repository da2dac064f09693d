"""What every test may ask for. One embedded Postgres serves the whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the run's embedded Postgres; made before the server, removed by pytest."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def postgres_url(postgres_home: Path) -> Iterator[str]:
    """The superuser's URL of an embedded Postgres, migrated; `address.with_user` makes the other roles'."""
    from erp.embedded.postgres import embedded_postgres
    from eventstore.migrate import migrate

    with embedded_postgres(postgres_home) as url:
        migrate(url)
        yield url
