"""`erp up`: Postgres, migrations, the demo company, Kafka, ClickHouse, relay, workers, API; watched,
restarted, stopped in reverse.

Promises: one `erp up` per home; a child or a server that dies is started again, ever more slowly while it
keeps dying; Ctrl-C and SIGTERM drain the API, then workers and relay, before the servers stop; and after a
kill -9 of this process the children notice, drain, and are the last ones out, so nothing runs on unwatched.
"""

import asyncio
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import IO, Self

import click

from erp import bootstrap, tenants
from erp.embedded.banner import banner
from erp.embedded.clickhouse import EmbeddedClickhouse
from erp.embedded.kafka import EmbeddedKafka
from erp.embedded.postgres import EmbeddedPostgres
from erp.embedded.server import kept_up
from erp.settings import Settings
from eventstore.migrate import migrate

DEMO_TENANT = "demo"

READY_TIMEOUT_S = 60
_TICK_S = 0.2
_BACKOFF_MIN_S = 0.5
_BACKOFF_MAX_S = 30.0
# A child that ran this long was well: its next death starts at the shortest wait again.
_WELL_AFTER_S = 60
# Beyond the API's own time to drain: closing pools, leaving Postgres.
_STOP_MARGIN_S = 15


class CannotRun(Exception):
    """The system cannot run here; the text is one line for the person who started it."""


class Supervisor:
    """Runs the processes of one home until it is told to stop."""

    def __init__(self, settings: Settings, say: Callable[[str], None] = click.echo) -> None:
        self._settings = settings
        self._say = say
        # Not an Event: two signals in a row would meet inside its lock, and neither would come out.
        self._asked_to_stop = False

    def run(self) -> None:
        """Start everything, watch it, and return when all has stopped again.

        Raises:
            CannotRun: another `erp up` runs on this home, the port is taken, or the API ended at its start.
        """
        with ExitStack() as stack:
            stack.enter_context(self._signals())
            stack.enter_context(self._only_one())
            self._require_free_port()
            self._prepare(stack)
            if not self._asked_to_stop:
                self._serve(*[stack.enter_context(child) for child in self._children()])
            self._say("stopping")
        kept = f"; your data is in {self._settings.home}" if self._settings.embedded else ""
        self._say(f"stopped{kept}")

    def _children(self) -> "list[Child]":
        """In the order in which they start; they stop in reverse, the API first."""
        settings = self._settings
        has_kafka = settings.embedded or bool(settings.kafka.bootstrap)
        has_clickhouse = settings.embedded or bool(settings.clickhouse.url)
        children = []
        if has_kafka:
            children.append(Child(settings, "relay", "the relay"))
        if has_kafka and has_clickhouse:
            children.append(Child(settings, "worker", "the worker"))
        if has_kafka:
            children.append(Child(settings, "worker", "the saga worker", "--role", "saga"))
        return [*children, Child(settings)]

    def _prepare(self, stack: ExitStack) -> None:
        """Servers, schema and the demo company, each only once it is needed and missing."""
        settings = self._settings
        with self._clickhouse_meanwhile(stack):
            if settings.embedded:
                self._say(f"starting Postgres, Kafka and ClickHouse in {settings.home}")
                stack.enter_context(kept_up(stack.enter_context(EmbeddedPostgres(settings.home))))
            for name in migrate(settings.postgres.need("owner_url")):
                self._say(f"migrated: {name}")
            # Seeded once: a company that is there stays as its people have made it.
            if asyncio.run(
                tenants.create_tenant(settings, DEMO_TENANT, chart="standard", currency="EUR", timezone="UTC")
            ):
                self._say(f"made the company {DEMO_TENANT!r} with a standard chart of accounts")
            if bootstrap.runs_kafka(settings):
                kafka = stack.enter_context(EmbeddedKafka(settings.home, bootstrap.kafka_topics(settings)))
                stack.enter_context(kept_up(kafka))

    @contextmanager
    def _clickhouse_meanwhile(self, stack: ExitStack) -> Iterator[None]:
        """ClickHouse starts while the block runs, for its engine takes as long to load as all the rest."""
        if not bootstrap.runs_clickhouse(self._settings):
            yield
            return
        clickhouse = EmbeddedClickhouse(self._settings.home)
        with ThreadPoolExecutor(1) as beside:
            starting = beside.submit(clickhouse.__enter__)
            try:
                yield
            finally:
                stack.push(clickhouse)
        starting.result()
        stack.enter_context(kept_up(clickhouse))

    def _serve(self, *children: "Child") -> None:
        """Start them, tell the person when the last, the API, is ready; keep them up until told to stop."""
        for child in children:
            child.start()
        if not self._until_ready(children[-1]):
            return
        self._say(banner(self._settings, DEMO_TENANT))
        while not self._tick():
            for child in children:
                child.keep_up(self._say)

    def _tick(self) -> bool:
        """Wait for a moment; whether we were asked to stop."""
        time.sleep(_TICK_S)
        return self._asked_to_stop

    def _until_ready(self, child: "Child") -> bool:
        """Wait for the first 200 of /health/ready; False when told to stop meanwhile."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _is_ready(self._settings):
            if self._tick():
                return False
            if not child.is_alive():
                raise CannotRun(f"the API ended at its start, with code {child.code()}")
            if time.monotonic() > deadline:
                raise CannotRun(f"the API is not ready after {READY_TIMEOUT_S} s: see /health/ready")
        return True

    def _require_free_port(self) -> None:
        host, port = self._settings.http.host, self._settings.http.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CannotRun(
                    f"cannot serve on {host}:{port} ({error.strerror}); "
                    "choose another port: make up PORT=8100"
                ) from None

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        self._settings.home.mkdir(parents=True, exist_ok=True)
        with (self._settings.home / "up.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CannotRun(f"`erp up` already runs here ({_holder(lock)})") from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()}, {_address(self._settings)}")
            lock.flush()
            yield
            lock.truncate(0)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask to stop; asked again they change nothing, stopping is bounded in time."""

        def ask(_number: int, _frame: FrameType | None) -> None:
            self._asked_to_stop = True

        before = {
            number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Child:
    """A process of ours, `erp VERB`, with options; leaving the block stops it."""

    def __init__(self, settings: Settings, verb: str = "api", title: str = "the API", *options: str) -> None:
        self._settings = settings
        self._arguments = (verb, *options)
        self._title = title
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._wait_s = 0.0
        self._start_at: float | None = None
        # Held open here, for ever empty: the kernel closes it with us, however we end.
        self._theirs, self._ours = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        os.close(self._theirs)
        os.close(self._ours)

    def start(self) -> None:
        """Start it with our settings, in a session of its own: Ctrl-C is for us, who drain it."""
        environment = {**os.environ, "ERP_HOME": str(self._settings.home)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "erp", *self._arguments, "--lifeline", str(self._theirs)],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._theirs,),
            start_new_session=True,
        )
        self._began = time.monotonic()
        self._start_at = None

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def code(self) -> int | None:
        """Its exit code, None while it runs; negative for a signal."""
        return None if self._process is None else self._process.poll()

    def keep_up(self, say: Callable[[str], None]) -> None:
        """Start it again when it has ended, ever later while it keeps ending soon. Called at each tick."""
        now = time.monotonic()
        if self.is_alive():
            return
        if self._start_at is None:
            was_well = now - self._began > _WELL_AFTER_S
            longer_s = min(max(self._wait_s * 2, _BACKOFF_MIN_S), _BACKOFF_MAX_S)
            self._wait_s = _BACKOFF_MIN_S if was_well else longer_s
            self._start_at = now + self._wait_s
            say(f"{self._title} ended with code {self.code()}; starting it again in {self._wait_s:g} s")
        elif now >= self._start_at:
            self.start()

    def stop(self) -> None:
        """SIGTERM, time to drain, then no more mercy."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(self._settings.http.drain_timeout_s + _STOP_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "starting"


def _address(settings: Settings) -> str:
    return f"http://{settings.http.host}:{settings.http.port}"


def _is_ready(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http.host, settings.http.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.http.port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
