"""What every test may ask for. One embedded Postgres serves the whole run, and one Apache Kafka where tests
run on it.
"""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.kafka.apache import ApacheKafka
    from tests.kafka.broker import Broker


# Tests in the background of a shell have SIGINT ignored, and so would every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _home() -> Iterator[Path]:
    # Not under pytest's own folder: as root, another run of pytest closes that to other users when it starts,
    # and the server, which never runs as root, could not reach its data any more.
    with tempfile.TemporaryDirectory(prefix="erp-test-") as folder:
        yield Path(folder).resolve() / ".erp"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of the test's own, not made yet; no server is left in it, however the test ends."""
    from erp.embedded.postgres import EmbeddedPostgres

    with _home() as home:
        yield home
        server = EmbeddedPostgres(home)
        if server.is_alive():
            with server:  # the last one out stops what a killed process has left running
                pass


@pytest.fixture(scope="session")
def postgres_home() -> Iterator[Path]:
    """The home of the run's embedded Postgres."""
    with _home() as home:
        yield home


@pytest.fixture(scope="session")
def postgres_url(postgres_home: Path) -> Iterator[str]:
    """The superuser's URL of an embedded Postgres, migrated; `address.with_user` makes the other roles'."""
    from erp.embedded.postgres import embedded_postgres
    from eventstore.migrate import migrate

    with embedded_postgres(postgres_home) as url:
        migrate(url)
        yield url


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    """The owner's URL of a database with nothing in it, removed afterwards."""
    with _database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database with nothing in its log, to make others of: nobody connects to it."""
    from eventstore.migrate import migrate

    with _database(postgres_url) as url:
        migrate(url)
        yield urlsplit(url).path[1:]


@pytest.fixture
def own_url(postgres_url: str, migrated: str) -> Iterator[str]:
    """The owner's URL of a migrated database whose log starts at position 1 and whose functions may be
    replaced.
    """
    with _database(postgres_url, like=migrated) as url:
        yield url


@contextmanager
def _database(cluster_url: str, like: str = "template1") -> Iterator[str]:
    name = f"scratch_{uuid4().hex}"
    with psycopg.connect(cluster_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}".encode())
        try:
            yield urlunsplit(urlsplit(cluster_url)._replace(path=f"/{name}"))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def apache_kafka() -> "Iterator[ApacheKafka]":
    """The run's node of Apache Kafka. Tests ask for `kafka` or `apache`, which begin with nothing in it."""
    from tests.kafka.apache import apache_kafka

    with apache_kafka() as node:
        yield node


@pytest.fixture
def kafka_topics() -> dict[str, int]:
    """The topics that a test's broker begins with, and their partitions. A module may have others."""
    return {}


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest, kafka_topics: dict[str, int]) -> "Iterator[Broker]":
    """A broker with `kafka_topics` and nothing in them. A test that asks for it is run on the embedded broker
    by `make test`, and on a real Apache Kafka by `make test-kafka`.
    """
    from tests.kafka.broker import embedded_broker

    if request.param == "apache":
        yield request.getfixturevalue("apache")
        return
    with embedded_broker(kafka_topics) as broker:
        yield broker


@pytest.fixture
def apache(apache_kafka: "ApacheKafka", kafka_topics: dict[str, int]) -> "Iterator[ApacheKafka]":
    """Apache Kafka with `kafka_topics` and nothing in them: for tests marked `kafka`."""
    from tests.kafka.apache import emptied

    with emptied(apache_kafka, kafka_topics) as node:
        yield node
