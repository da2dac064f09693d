"""The saga workers of a system, killed at an instant of the test's choosing."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Final

import psutil
import psycopg
from psycopg import sql

from tests.e2e.system import Books, Home, Process
from tests.faults.system import System
from tests.waiting import until

_GATE: Final = 4712820999
_STAND_STILL: Final = f"""
    CREATE OR REPLACE FUNCTION public.stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock({_GATE}); RETURN NEW; END $$"""
_SHUT: Final = """
    CREATE TRIGGER gate BEFORE INSERT ON erp.events FOR EACH ROW
      WHEN (NEW.tenant = {} AND NEW.type = {} AND convert_from(NEW.data, 'UTF8') LIKE {})
      EXECUTE FUNCTION public.stand_still()"""
_OPEN: Final = "DROP TRIGGER gate ON erp.events"
_AT_GATE: Final = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
       AND (classid::bigint << 32) + objid::bigint = %s"""


class Fate(StrEnum):
    """What becomes of the append that a worker dies in."""

    LOST = "lost"
    """Nothing of it is stored."""
    LATE = "late"
    """It is stored without anybody being told, and only after the next worker has come to the same point."""


class Gate:
    """Shut, the database lets nothing in the books of a tenant through that is of the type and contains the
    text: whoever appends it stands still in the midst of it.
    """

    def __init__(self, books: Books, of_type: str, containing: str = "") -> None:
        self._home = books.home
        self._shut = sql.SQL(_SHUT).format(books.tenant, of_type, f"%{containing}%")

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Meanwhile, unless it is opened before."""
        with psycopg.connect(self._home.url(), autocommit=True) as self._keeper:
            self._keeper.execute("SELECT pg_advisory_lock(%s)", [_GATE])
            self._keeper.execute(_STAND_STILL)
            self._keeper.execute(self._shut)
            try:
                yield
            finally:
                self.open()
                self._keeper.execute(_OPEN)

    def open(self) -> None:
        """Let pass who stands there, and all who come."""
        self._keeper.execute("SELECT pg_advisory_unlock_all()")

    def someone(self) -> int | None:
        """The server's process for whoever stands at the gate."""
        found = self._home.rows(_AT_GATE, _GATE)
        return found[0][0] if found else None

    def undo(self) -> None:
        """What stands there is taken back, whole."""
        self._home.rows("SELECT pg_terminate_backend(%s, 10000)", self.someone())


class Crew:
    """All saga workers: that of `erp up`, and one of ours, since a supervisor starts what keeps dying ever
    more slowly.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._ours: Process | None = None

    @property
    def home(self) -> Home:
        return self._system.home

    def kill(self) -> None:
        """kill -9 of all there are."""
        if self._ours is not None:
            self._ours.kill()
        pid = self._system.pid_of("saga")
        if pid is not None:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).send_signal(signal.SIGKILL)

    def relieve(self) -> None:
        """Another one starts."""
        self._ours = Process(self.home.path, "worker", "--role", "saga", **self._system.environment)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Meanwhile none of them does anything."""
        until(lambda: self._system.pid_of("saga"), "there is one")
        pids = [self._system.pid_of("saga"), None if self._ours is None else self._ours.pid]
        stopped = [psutil.Process(pid) for pid in pids if pid is not None]
        for each in stopped:
            each.suspend()
        try:
            yield
        finally:
            for each in stopped:
                each.resume()

    def end(self) -> None:
        """Ours is gone."""
        if self._ours is not None:
            self._ours.end()

    def die_at(self, gate: Gate, fate: Fate) -> None:
        """Once one of them stands at the gate all are killed; then another one takes over. Where nothing has
        passed the gate it stays shut.
        """
        until(gate.someone, "a worker comes to the gate")
        self.kill()
        if fate is Fate.LOST:
            gate.undo()
            self.relieve()
            return
        self.relieve()
        # The one at the gate has the append lock, which the next one waits for.
        until(lambda: self.home.appends_waiting() > 1, "the next worker appends")
        gate.open()
