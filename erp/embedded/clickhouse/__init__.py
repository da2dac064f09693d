"""The embedded ClickHouse of a home: the real engine, behind ClickHouse's HTTP protocol, on loopback only.

Promises: any number of processes use one server at a time; the first one in starts it, the last one out
stops it; who uses it is a shared file lock, so a process that is killed leaves no wrong count behind. A
server that is killed loses no row it has acknowledged, and comes back on the same port. One whose users were
all killed is taken over by the next, or ends by itself.
"""

import fcntl
import http.client
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from erp.embedded.clickhouse import place

__all__ = ["ClickhouseError", "EmbeddedClickhouse", "embedded_clickhouse", "kept_up"]

_log = logging.getLogger(__name__)

# Loading the parts of a large folder takes a while on a slow disk.
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30


class ClickhouseError(Exception):
    """The embedded ClickHouse cannot be started or stopped; the text is one line for a person."""


class EmbeddedClickhouse:
    """One process's use of the server of a home: `with EmbeddedClickhouse(home) as server: … server.url`."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self._users: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server, or attach to the one that runs; it answers when this returns.

        Raises:
            ClickhouseError: it cannot be started.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with self._starting_or_stopping():
                self._enter()
        except OSError as error:
            raise ClickhouseError(f"{error.filename or self.home}: {error.strerror}") from None
        return self

    def _enter(self) -> None:
        users = (self.home / "clickhouse.lock").open("ab")
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
            self._stop()

    @property
    def url(self) -> str:
        """For `clickhouse_connect.get_client(dsn=…)`, with user and password. The port is the same from one
        start to the next unless somebody else has taken it meanwhile.

        Raises:
            ClickhouseError: no server of this home has ever been started.
        """
        return self._address().url()

    @property
    def instance(self) -> str:
        """The id of the data folder, as `SELECT erpInstance()` says it; a wiped folder gets another one."""
        return place.instance(self.home)

    def pid(self) -> int | None:
        """The server's process, None when there is none."""
        try:
            with (self.home / "clickhouse.server.lock").open() as lock:
                while True:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    except BlockingIOError:
                        lock.seek(0)
                        written = lock.read()
                        if written:
                            return int(written)
                        time.sleep(0.001)  # it has its lock and is about to write
                    else:
                        return None
        except FileNotFoundError:
            return None

    def is_alive(self) -> bool:
        """Whether the process is there (it may still be loading)."""
        return self.pid() is not None

    def ensure_running(self) -> bool:
        """Start the server again if it has died; returns whether it had. Cheap while it lives.

        Raises:
            ClickhouseError: it cannot be started.
        """
        if self.is_alive():
            return False
        with self._starting_or_stopping():
            self._start()
        return True

    @contextmanager
    def _starting_or_stopping(self) -> Iterator[None]:
        """One process at a time decides whether there is a server."""
        with (self.home / "clickhouse.start.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _address(self) -> place.Address:
        address = place.address(self.home)
        if address is None:
            raise ClickhouseError(f"no ClickHouse has been started in {self.home} yet")
        return address

    def _start(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise ClickhouseError(
                    f"ClickHouse does not answer after {START_TIMEOUT_S} s: see {self._log()}"
                )
            if self.is_alive():  # somebody else's start or stop, cut short, still runs its course
                time.sleep(0.05)
            else:
                self._spawn()

    def _spawn(self) -> None:
        """Start the server's process, and return when it answers."""
        # -P: what lies in the working directory is not ours to import.
        command = (sys.executable, "-P", "-m", __name__, str(self.home))
        with tempfile.TemporaryFile("w+") as words:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                check=False,
                timeout=START_TIMEOUT_S,
            )
            words.seek(0)
            if done.returncode:
                said = " ".join(words.read().split())[-500:]
                raise ClickhouseError(f"ClickHouse does not start: {said} ({self._log()})")

    def _stop(self) -> None:
        pid = self.pid()
        if pid is None:
            return
        deadline = time.monotonic() + STOP_TIMEOUT_S
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        while self.pid() == pid:
            if time.monotonic() > deadline:  # nothing is lost by it
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _answers(self) -> bool:
        address = place.address(self.home)
        if address is None or not self.is_alive():
            return False
        connection = http.client.HTTPConnection(place.HOST, address.port, timeout=5)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log(self) -> Path:
        return place.log(self.home)


@contextmanager
def embedded_clickhouse(home: Path) -> Iterator[str]:
    """The server of this home for the duration; yields its URL, with user and password."""
    with EmbeddedClickhouse(home) as server:
        yield server.url


@contextmanager
def kept_up(server: EmbeddedClickhouse, interval_s: float = 0.5) -> Iterator[None]:
    """A thread that starts the server again whenever it has died, as long as the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(interval_s):
            try:
                server.ensure_running()
            except (ClickhouseError, OSError) as error:
                _log.error("%s", error)  # expected: its one line says it all, and the next turn tries again

    thread = threading.Thread(target=watch, name="clickhouse-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
