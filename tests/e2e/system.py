"""A running system to be tried from outside: real processes on an embedded Postgres, and clients of them."""

import contextlib
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import orjson
import psutil
import psycopg

from api.auth import AuthConfig, AuthKey, issue_token
from erp.contexts import aggregates, projections
from erp.embedded import address
from erp.embedded.cluster import Cluster
from erp.embedded.postgres import EmbeddedPostgres
from erp.secrets import kept_keys
from eventstore.codec import Codec
from eventstore.migrate import migrate
from eventstore.tenants import register_tenant
from eventstore.verify import Verified, verify
from tests.waiting import WAIT_S, until

ENTRIES = "/v1/finance/journal-entries"
NDJSON = {"Content-Type": "application/x-ndjson"}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def entry(reference: str = "", amount: str = "10.00", **changes: Any) -> dict[str, Any]:
    """A journal entry as a client sends it."""
    lines = [{"account": "1122", "debit": amount}, {"account": "6001", "credit": amount}]
    return {
        "posting_date": "2026-01-15",
        "currency": "EUR",
        "reference": reference,
        "lines": lines,
        **changes,
    }


def bulk_line(command: str, data: Any, **more: Any) -> bytes:
    """A line of a bulk request."""
    return orjson.dumps({"command": command, "data": data, **more}) + b"\n"


class Process:
    """`erp …` as a child of ours, its output in a file so that it never waits for a reader."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.log = home.parent / f"{arguments[0]}-{uuid4().hex[:8]}.log"
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "erp", *arguments],
                env={**clean_environment(), "ERP_HOME": str(home), **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, wait_s: float = WAIT_S) -> int:
        return self._process.wait(wait_s)

    def kill(self) -> None:
        """As a crash: nothing is put in order."""
        self._process.kill()
        self._process.wait(WAIT_S)

    def terminate(self, wait_s: float = WAIT_S) -> int:
        """As an operator: told to end, and waited for."""
        self._process.terminate()
        return self.wait(wait_s)

    def end(self) -> None:
        """It is gone after this, in good order if that is possible."""
        if self.is_alive():
            self._process.terminate()
            try:
                self._process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)


class Api:
    """An `erp api` that can be ended in every way and started again on the same port."""

    def __init__(self, home: Path, *options: str, port: int | None = None, **environment: str) -> None:
        self.port = port or free_port()
        self._home = home
        self._options = options
        self._environment = environment
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> Process:
        assert self.process is not None
        return self.process

    def start(self) -> Self:
        """Running and ready when this returns; harmless when it is already."""
        if self.process is None or not self.process.is_alive():
            arguments = ("api", "--port", str(self.port), *self._options)
            self.process = Process(self._home, *arguments, **self._environment)
            until(lambda: self.is_ready() or not self.running.is_alive(), "the API is ready")
            assert self.running.is_alive(), self.running.output
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.process is not None:
            self.process.end()
            if kind is not None:
                print(self.process.output[-5000:])  # noqa: T201 - pytest shows it with the failure

    def is_ready(self) -> bool:
        return self.readiness()[0] == http.client.OK

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """What /health/ready says; status 0 when nobody answers."""
        try:
            answer = httpx.get(f"{self.url}/health/ready", timeout=10)
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()

    def is_read(self) -> bool:
        """Whether every projection answers."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        serving = [each.split()[-1] for each in lines if each.startswith("erp_projection_serving{")]
        return len(serving) > len(projections()) and set(serving) == {"1.0"}

    def socket(self) -> socket.socket:
        """A bare connection, for clients that do not behave."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@dataclass(frozen=True)
class Home:
    """The home of a system: its database and its keys."""

    path: Path

    def url(self, user: str = address.SUPERUSER) -> str:
        return address.url(self.path, user)

    @cached_property
    def _auth(self) -> AuthConfig:
        keys = kept_keys(self.path)
        return AuthConfig(
            tuple(AuthKey(key["kid"], key["alg"], key.get("private_key") or key["key"]) for key in keys)
        )

    def token(self, tenant: str, user: str = "alice", roles: Sequence[str] = ("admin",), **more: Any) -> str:
        return issue_token(
            self._auth, **{"tenant": tenant, "user": user, "roles": roles, "ttl_s": 3600, **more}
        )

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """What the database holds, past everything of ours."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def verified(self) -> Verified:
        """What `erp verify` finds."""
        return verify(self.url("erp_reader"), Codec(aggregates()), aggregates())

    def erp(self, *arguments: str, wait_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
        """`erp …`, run to its end."""
        return subprocess.run(
            [sys.executable, "-m", "erp", *arguments],
            env={**clean_environment(), "ERP_HOME": str(self.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=wait_s,
            check=False,
        )

    @contextlib.contextmanager
    def appends_held(self) -> Iterator[None]:
        """Meanwhile every command waits at the database, just before it is numbered."""
        with psycopg.connect(self.url()) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(4712820726)")
            yield
            connection.rollback()

    def appends_waiting(self) -> int:
        """How many calls of the append function wait for their turn."""
        ((count,),) = self.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return int(count)


@contextlib.contextmanager
def running_home() -> Iterator[Home]:
    """A home with Postgres running and migrated; it is stopped when the last user of it is gone."""
    # Not below pytest's own folder, which each run of pytest shuts to others when it starts: under root that
    # locks out the user that the Postgres of another run works as.
    with TemporaryDirectory(prefix="erp-e2e-") as folder:
        path = Path(folder) / "home"
        with EmbeddedPostgres(path) as server:
            migrate(server.url)
            yield Home(path)


@contextlib.contextmanager
def postgres_stopped(home: Home) -> Iterator[None]:
    """Postgres shut down in good order; whoever would start it again waits until the end of this."""
    with (home.path / "postgres.start.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Cluster(home.path).stop()
        yield


@dataclass
class Books:
    """The books of a tenant, kept over HTTP by one of its users."""

    home: Home
    base_url: str
    name: str
    tenant: UUID
    user: str = "alice"
    roles: Sequence[str] = ("admin",)
    client: httpx.Client = field(init=False, repr=False)
    _others: "list[Books]" = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        # No TLS on loopback; loading certificates would take longer than all the rest.
        options: dict[str, Any] = {"timeout": 60, "verify": False}
        self.client = httpx.Client(base_url=self.base_url, headers=self.headers, **options)

    @classmethod
    def new(cls, home: Home, base_url: str) -> "Books":
        """A tenant with nothing in its books."""
        name = f"t{uuid4().hex}"
        made, _ = register_tenant(home.url(), name, base_currency="EUR", time_zone="UTC")
        return cls(home, base_url, name, made.tenant)

    def by(self, user: str, *roles: str, base_url: str | None = None) -> "Books":
        """The same books in the hands of another user, or by way of another process."""
        other = Books(self.home, base_url or self.base_url, self.name, self.tenant, user, roles or self.roles)
        self._others.append(other)
        return other

    @cached_property
    def token(self) -> str:
        return self.home.token(self.name, self.user, self.roles)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def close(self) -> None:
        for other in self._others:
            other.close()
        self.client.close()

    def opened(self, *more_accounts: Mapping[str, Any]) -> Self:
        """With the fiscal year 2026 and the accounts 1122 and 6001 (and `more_accounts`)."""
        accounts = [
            {"code": "1122", "name": "Accounts receivable", "type": "asset"},
            {"code": "6001", "name": "Revenue", "type": "income"},
            *more_accounts,
        ]
        self.ok("POST", "/v1/finance/fiscal-years", json={"year": 2026, "start": "2026-01-01"})
        for account in accounts:
            self.ok("POST", "/v1/finance/accounts", json=account)
        return self

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.client.request(method, path, **options)

    def ok(self, method: str, path: str, **options: Any) -> Any:
        """The body of a good answer."""
        answer = self.send(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        return self.ok("GET", path)

    def post(self, reference: str = "", key: str | None = None, **changes: Any) -> httpx.Response:
        """Post a journal entry."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.send("POST", ENTRIES, json=entry(reference, **changes), headers=headers)

    def bulk(self, *lines: bytes) -> list[dict[str, Any]]:
        """What became of each line."""
        answer = self.send("POST", "/v1/commands", content=b"".join(lines), headers=NDJSON)
        assert answer.status_code == http.client.OK, answer.text
        return [orjson.loads(line) for line in answer.text.splitlines()]

    @property
    def last(self) -> int:
        """How many events there are."""
        ((count,),) = self.home.rows(
            "SELECT coalesce(max(tenant_seq), 0) FROM erp.events WHERE tenant = %s", self.tenant
        )
        return int(count)

    def events(self, of_type: str) -> list[dict[str, Any]]:
        """Events of a type in commit order, as the database holds them."""
        rows = self.home.rows(
            """SELECT position, stream_id, version, series, number, tenant_seq,
                      convert_from(data, 'UTF8'), convert_from(metadata, 'UTF8')
                 FROM erp.events WHERE tenant = %s AND type = %s ORDER BY position""",
            self.tenant,
            of_type,
        )
        names = ("position", "stream_id", "version", "series", "number", "tenant_seq")
        return [
            {
                **dict(zip(names, row[:6], strict=True)),
                "data": orjson.loads(row[6]),
                "metadata": orjson.loads(row[7]),
            }
            for row in rows
        ]


def is_problem(answer: httpx.Response, status: int, code: str | None = None) -> bool:
    """Whether it is the problem answer of the contract (RFC 9457), whole and consistent."""
    told = answer.json()
    return (
        answer.status_code == status
        and answer.headers["content-type"] == "application/problem+json"
        and {"type", "title", "status", "detail", "instance", "code"} <= told.keys()
        and told["status"] == status
        and (code is None or told["code"] == code)
    )


def clean_environment() -> dict[str, str]:
    """The environment without settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ERP_")}
