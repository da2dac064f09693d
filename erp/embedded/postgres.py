"""The embedded Postgres of a home: the real server, on a Unix socket only, with fsync on.

Promises: any number of processes use one server at a time; the first one in starts it, the last one out stops
it; who uses it is a shared file lock, so a process that is killed leaves no wrong count behind. A server left
running by a kill -9 is taken over by the next user.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psycopg
from psycopg import sql

from erp.embedded import address
from erp.embedded.cluster import Cluster, PostgresError

__all__ = ["EmbeddedPostgres", "PostgresError", "embedded_postgres", "kept_up"]

_log = logging.getLogger(__name__)

# Recovery after a crash replays up to max_wal_size, on a slow disk too.
START_TIMEOUT_S = 120


class EmbeddedPostgres:
    """One process's use of the server of a home: `with EmbeddedPostgres(home) as server: … server.url`."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.url = address.url(self.home)
        """As superuser, on database "erp"."""
        self._cluster = Cluster(self.home)
        self._users: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server, or attach to the one that runs; it accepts connections when this returns.

        Raises:
            PostgresError: it cannot be started.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with self._starting_or_stopping():
                self._enter()
        except OSError as error:
            raise PostgresError(f"{error.filename or self.home}: {error.strerror}") from None
        return self

    def _enter(self) -> None:
        users = (self.home / "postgres.lock").open("ab")
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            self._start()
        except BaseException:
            users.close()
            raise
        self._users = users

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server when nobody else uses it."""
        users, self._users = self._users, None
        if users is None:
            return
        with self._starting_or_stopping(), users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._cluster.stop()

    def pid(self) -> int | None:
        """The server's main process, None when there is none."""
        return self._cluster.pid()

    def is_alive(self) -> bool:
        """Whether its main process is there (it may still be recovering)."""
        return self.pid() is not None

    def ensure_running(self) -> bool:
        """Start the server again if it has died; returns whether it had. Cheap while it lives.

        Raises:
            PostgresError: it cannot be started.
        """
        if self.is_alive():
            return False
        with self._starting_or_stopping():
            self._start()
        return True

    @contextmanager
    def _starting_or_stopping(self) -> Iterator[None]:
        """One process at a time decides whether there is a server."""
        with (self.home / "postgres.start.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

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
        self._create_database()

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


@contextmanager
def kept_up(server: EmbeddedPostgres, interval_s: float = 0.5) -> Iterator[None]:
    """A thread that starts the server again whenever it has died, as long as the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(interval_s):
            try:
                server.ensure_running()
            except (PostgresError, psycopg.Error, OSError) as error:
                _log.error("%s", error)  # expected: its one line says it all, and the next turn tries again

    thread = threading.Thread(target=watch, name="postgres-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
