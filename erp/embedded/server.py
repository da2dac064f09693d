"""A server of a home that several processes use at once.

Promises: the first one in starts it, the last one out stops it; who uses it is a shared file lock, so a
process that is killed leaves no wrong count behind. A server left running by a kill -9 is taken over by the
next user.
"""

import fcntl
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

_log = logging.getLogger(__name__)


class ServerError(Exception):
    """An embedded server cannot be started or stopped; the text is one line for a person."""


class SharedServer(ABC):
    """One process's use of a server: `with Server(home) as server: …`. What it is, subclasses know."""

    name: ClassVar[str]
    """Of its lock files."""
    error: ClassVar[type[ServerError]] = ServerError

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self._users: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server, or attach to the one that runs; it accepts connections when this returns.

        Raises:
            ServerError: it cannot be started.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with self._starting_or_stopping():
                self._enter()
        except OSError as error:
            raise self.error(f"{error.filename or self.home}: {error.strerror}") from None
        return self

    def _enter(self) -> None:
        users = self._users_lock().open("ab")
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

    def ensure_running(self) -> bool:
        """Start the server again if it has died; returns whether it had. Cheap while it lives.

        Raises:
            ServerError: it cannot be started.
        """
        if self.is_alive():
            return False
        with self._starting_or_stopping():
            self._start()
        return True

    def is_alive(self) -> bool:
        """Whether its main process is there (it may still be recovering)."""
        return self.pid() is not None

    @abstractmethod
    def pid(self) -> int | None:
        """The server's main process, None when there is none."""

    @abstractmethod
    def _start(self) -> None:
        """Return when it accepts connections, started here if it was not. Nobody else starts or stops it."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop it if it is there. Nobody uses, starts or stops it."""

    def _users_lock(self) -> Path:
        return self.home / f"{self.name}.lock"

    @contextmanager
    def _starting_or_stopping(self) -> Iterator[None]:
        """One process at a time decides whether there is a server."""
        with (self.home / f"{self.name}.start.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def kept_up(server: SharedServer, interval_s: float = 0.5) -> Iterator[None]:
    """A thread that starts the server again whenever it has died, as long as the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(interval_s):
            try:
                server.ensure_running()
            except (ServerError, OSError) as error:
                _log.error("%s", error)  # expected: its one line says it all, and the next turn tries again

    thread = threading.Thread(target=watch, name=f"{server.name}-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
