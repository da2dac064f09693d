"""The engine of a data folder: chdb's connections, and what they do for one request. Sole importer of chdb.

What experiments settled: any number of connections in one process, each used by one thread at a time; a new
one costs 80 µs, SET and USE 120 µs each, so connections are kept with the settings they have. Rows leave
through `INTO OUTFILE` into a pipe: every format comes out whole and in pieces, and a pipe that is full holds
the engine back. A pipe without a reader does not stop a query, KILL QUERY does.
"""

import importlib
import itertools
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from erp.embedded.clickhouse.faults import Fault
from erp.embedded.clickhouse.request import External

# The library's core: its stubs are of another version, and its wrappers know no bytes.
_chdb: Any = importlib.import_module("chdb._chdb")

IDLE_CONNECTIONS_MAX = 16
DEFAULT_DATABASE = "default"

_PIECE_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class Tally:
    """What a statement read and wrote."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0

    @classmethod
    def of(cls, result: Any) -> "Tally":
        """Of a statement that came to its end."""
        return cls(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            elapsed_ns=round(result.elapsed() * 1e9),
        )


class Connection:
    """One of the engine's connections, for one statement at a time; `tag` is what a kill finds it by."""

    def __init__(self, raw: Any, tag: str) -> None:
        self._raw = raw
        self.tag = tag
        self.settings: dict[str, str | None] = {}
        """As requests have set them; None: unknown."""
        self.database: str | None = DEFAULT_DATABASE

    def prepare(self, database: str | None, settings: Mapping[str, str]) -> None:
        """Stand on this database (None: where it stands) with these settings and no other request's."""
        changes = [
            f"{name} = {_quoted(value)}" for name, value in settings.items() if self._differs(name, value)
        ]
        changes += [f"{name} = DEFAULT" for name in self.settings if name not in settings]
        if changes:
            # Whatever the outcome, each of them is set anew next time.
            self.settings |= dict.fromkeys(settings)
            self.command(f"SET {', '.join(changes)}".encode())
            self.settings = dict(settings)
        if database is not None and database != self.database:
            self.database = None
            self.command(b"USE " + _identifier(database))
            self.database = database

    def _differs(self, name: str, value: str) -> bool:
        if not _NAME.fullmatch(name):
            raise Fault.of(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'.")
        return self.settings.get(name) != value

    def forget(self) -> None:
        """A statement has changed database or settings: they are set anew for the next one."""
        self.database = None
        self.settings = dict.fromkeys(self.settings)

    @contextmanager
    def externals(self, tables: Sequence[External]) -> Iterator[None]:
        """The tables that came with a request, as temporary ones for as long as the block runs."""
        with ExitStack() as stack:
            for table in tables:
                name = _identifier(table.name)
                self.command(b"CREATE TEMPORARY TABLE %s (%s)" % (name, table.structure.encode()))
                stack.callback(self.command, b"DROP TEMPORARY TABLE " + name)
                with _faults():
                    insert = self._raw.send_insert(b"INSERT INTO " + name, table.format)
                    self._raw.insert_append(insert, table.data)
                    self._raw.insert_done(insert)
            yield

    def bind(self, params: Mapping[str, str]) -> None:
        """Parameters for an INSERT, which takes none by the way; they stay with the connection."""
        if params:
            self.forget()
            bound = ", ".join(f"param_{_checked(name)} = {_quoted(value)}" for name, value in params.items())
            self.command(f"SET {bound}".encode())

    def parses(self, sql: bytes) -> bool:
        """Whether the engine can read the statement."""
        return bool(self._raw.classify_query(sql)["statement_count"])

    def command(
        self, sql: bytes, format_: str = "TabSeparated", params: Mapping[str, str] | None = None
    ) -> tuple[Tally, bytes]:
        """Run a statement that answers with little: its tally, and the answer.

        Raises:
            Fault: the engine refuses it, or it was killed.
        """
        with _faults():
            result = self._raw.query(sql, format_, params=dict(params or {}))
            return Tally.of(result), result.bytes()

    def read_into(
        self, descriptor: int, sql: bytes, format_: str, settings: bytes, params: Mapping[str, str]
    ) -> Tally:
        """Run a statement and write its rows, in that format, into a pipe.

        Raises:
            Fault: the engine refuses it, or it was killed; some rows may have been written.
        """
        into = b" INTO OUTFILE '/dev/fd/%d' TRUNCATE" % descriptor
        form = b" FORMAT %s %s" % (format_.encode(), settings)
        try:
            return self.command(sql + into + form, format_, params)[0]
        except Fault as fault:
            # It quotes the statement; the client shall see its own.
            raise Fault(fault.code, str(fault).replace(into.decode(), "")) from None

    def insert_from(self, descriptor: int, sql: bytes, format_: str, whole: Callable[[], bool]) -> Tally:
        """Insert the data that come out of a pipe. When it has run dry and they are not `whole()`, nothing is
        committed beyond the full blocks that the engine had already written.

        Raises:
            Fault: the engine refuses the statement or the data.
        """
        with _faults():
            insert = self._raw.send_insert(sql, format_)
            try:
                while piece := os.read(descriptor, _PIECE_BYTES):
                    self._raw.insert_append(insert, piece)
            except BaseException:
                self._raw.insert_cancel(insert)
                raise
            if whole():
                return Tally.of(self._raw.insert_done(insert))
            self._raw.insert_cancel(insert)
            return Tally()

    def close(self) -> None:
        """Let go of it, and of its temporary tables."""
        self._raw.close()


class Engine:
    """The engine of the data folder `home/clickhouse`; there is one in a process, and one on a folder.

    Raises:
        Fault: another process has the folder, or it cannot be read.
    """

    def __init__(self, home: Path) -> None:
        # The path goes into a URL-like string that cannot quote: hence by name, from the folder above.
        os.chdir(home)
        # Half of the machine's memory for all queries together; more is refused, code 241.
        memory = psutil.virtual_memory().total // 2
        # A server's manners instead of a command line's. async_insert off: acknowledged means written.
        # Formatting in parallel holds several blocks for a slow reader, and costs small answers 0.2 ms.
        self._address = (
            f"clickhouse?max_server_memory_usage={memory}&mark_cache_size={256 << 20}"
            "&implicit_select=0&async_insert=0&output_format_parallel_formatting=0&log_comment="
        )
        self._numbers = itertools.count(1)
        self._idle: deque[Connection] = deque()
        self._lock = threading.Lock()
        # Never closed while we live: the engine would end with its last connection.
        self._own = self.connect()
        # The library handles SIGTERM and crashes in its own way; ours is to drain and end.
        _chdb.reset_signal_handlers()

    def connect(self) -> Connection:
        """A connection as new."""
        tag = f"erp-{os.getpid()}-{next(self._numbers)}"
        with _faults():
            return Connection(_chdb.connect(self._address + tag), tag)

    @contextmanager
    def connection(self, database: str, settings: Mapping[str, str]) -> Iterator[Connection]:
        """One that stands there with these settings; kept for the next such request if all went well."""
        connection = self._take(database, settings)
        try:
            connection.prepare(database, settings)
            yield connection
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def _take(self, database: str, settings: Mapping[str, str]) -> Connection:
        with self._lock:
            for connection in reversed(self._idle):
                if connection.database == database and connection.settings == settings:
                    self._idle.remove(connection)
                    return connection
        return self.connect()

    def _give_back(self, connection: Connection) -> None:
        if connection.database is None:  # it said SET, USE or made temporary tables
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)
            surplus = self._idle.popleft() if len(self._idle) > IDLE_CONNECTIONS_MAX else None
        if surplus is not None:
            surplus.close()

    def kill(self, tag: str) -> None:
        """Ask the statement that runs on this connection to end; harmless when none does."""
        with self._lock:
            self._own.command(f"KILL QUERY WHERE Settings['log_comment'] = {_quoted(tag)} ASYNC".encode())

    def one(self, sql: str) -> str:
        """The single value that the statement answers with."""
        with self._lock:
            return self._own.command(sql.encode())[1].decode().rstrip("\n")

    def close(self) -> None:
        """Close what is idle, and the engine with it."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
            self._own.close()


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Fault.from_engine(str(error)) from None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _identifier(name: str) -> bytes:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`".encode()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Fault.of(36, "BAD_ARGUMENTS", f"{name!r} is no name of a parameter.")
    return name
