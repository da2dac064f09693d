"""The embedded Postgres of a home: the real server, on a Unix socket only, with fsync on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from erp.embedded import address
from erp.embedded.cluster import Cluster, PostgresError
from erp.embedded.server import SharedServer, kept_up

__all__ = ["EmbeddedPostgres", "PostgresError", "embedded_postgres", "kept_up"]

# Recovery after a crash replays up to max_wal_size, on a slow disk too.
START_TIMEOUT_S = 120


class EmbeddedPostgres(SharedServer):
    """One process's use of the server of a home: `with EmbeddedPostgres(home) as server: … server.url`."""

    name = "postgres"
    error = PostgresError

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.url = address.url(self.home)
        """As superuser, on database "erp"."""
        self._cluster = Cluster(self.home)

    def pid(self) -> int | None:
        """The server's main process, None when there is none."""
        return self._cluster.pid()

    def _stop(self) -> None:
        self._cluster.stop()

    def _start(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts_connections():
            if time.monotonic() > deadline:
                words = self._cluster.last_words()
                raise PostgresError(f"Postgres accepts no connections after {START_TIMEOUT_S} s: {words}")
            if self.is_alive():  # somebody else's start or stop, cut short, still runs its course
                time.sleep(0.05)
            else:
                self._cluster.start(deadline)
        try:
            self._create_database()
        except psycopg.Error as error:
            raise PostgresError(f"Postgres: {' '.join(str(error).split())}") from None

    def _accepts_connections(self) -> bool:
        if not self.is_alive():
            return False
        try:
            psycopg.connect(address.url(self.home, database="postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        url = address.url(self.home, database="postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", (address.DATABASE,))
            if known.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(address.DATABASE)))


@contextmanager
def embedded_postgres(home: Path) -> Iterator[str]:
    """The server of this home for the duration; yields the superuser's psycopg URL on database "erp"."""
    with EmbeddedPostgres(home) as server:
        yield server.url
