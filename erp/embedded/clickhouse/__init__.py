"""The embedded ClickHouse of a home: the real engine, behind ClickHouse's HTTP protocol, on loopback only.

Promises: any number of processes use one server at a time; the first one in starts it, the last one out
stops it; who uses it is a shared file lock, so a process that is killed leaves no wrong count behind. A
server that is killed loses no row it has acknowledged, and comes back on the same port. One whose users were
all killed is taken over by the next, or ends by itself.
"""

import fcntl
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from erp.embedded.clickhouse import place
from erp.embedded.server import ServerError, SharedServer, kept_up

__all__ = ["ClickhouseError", "EmbeddedClickhouse", "embedded_clickhouse", "kept_up"]

# Loading the parts of a large folder takes a while on a slow disk.
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30


class ClickhouseError(ServerError):
    """The embedded ClickHouse cannot be started or stopped; the text is one line for a person."""


class EmbeddedClickhouse(SharedServer):
    """One process's use of the server of a home: `with EmbeddedClickhouse(home) as server: … server.url`."""

    name = "clickhouse"
    error = ClickhouseError

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
