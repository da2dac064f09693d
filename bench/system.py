"""The whole system, as a person starts it: `erp up` on a home of the bench's own."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import psycopg

from bench import entries
from bench.children import ChildFailed, cpu_s_of, free_port, spawned, until_ready
from erp.embedded import address
from erp.embedded.clickhouse import EmbeddedClickhouse
from erp.embedded.kafka import EmbeddedKafka
from erp.embedded.postgres import EmbeddedPostgres
from erp.embedded.server import SharedServer
from erp.secrets import kept_keys, kept_master_key
from erp.settings import AuthKey, AuthSettings, PersonalSettings, PostgresSettings, Settings
from erp.tokens import issue_token
from projections.finance.tables import FINANCE_PROJECTIONS, LINES

TENANT: Final = "demo"
_LOOK_FOR_S: Final = 1.0
_IDLE_SHARE: Final = 0.15
PARTS: Final = ("api", "relay", "saga", "worker", "postgres", "kafka", "clickhouse")
_SERVERS: Final[dict[str, type[SharedServer]]] = {
    "postgres": EmbeddedPostgres,
    "kafka": EmbeddedKafka,
    "clickhouse": EmbeddedClickhouse,
}
_TOKEN_TTL_S: Final = 24 * 3600
# Drain the API, then worker and relay, then stop the servers.
_STOP_TIMEOUT_S: Final = 120.0
_WORDS_KEPT: Final = 2000
_STANDING: Final = """
    SELECT e.head, r.position, c.position,
           (SELECT CASE count(*)
                   WHEN %s THEN min(CASE WHEN g.position < e.head - e.head %% g.step THEN g.position
                                         ELSE e.head END)
                   ELSE 0 END
              FROM erp.projections p
              JOIN (SELECT projection, generation, position, (definition ->> 'step')::bigint AS step
                      FROM erp.projection_generations) AS g
                   ON g.projection = p.projection AND g.generation = p.serving
             WHERE p.projection = ANY (%s)),
           (SELECT coalesce(min(g.position), 0)
              FROM erp.projections p
              JOIN erp.projection_generations g ON g.projection = p.projection AND g.generation = p.serving
             WHERE p.projection = %s)
      FROM erp.relay r, erp.log_copy c,
           (SELECT coalesce(max(position), 0) AS head FROM erp.events) AS e"""
_NAMES: Final = [each.name for each in FINANCE_PROJECTIONS]


class Standing(NamedTuple):
    """How far it all has come: the log, what of it is in Kafka, in the log copy, in every projection of
    finance (one that goes by whole steps need not have the last, open one), and in their lines, which are
    filled as soon as a balance is waited for.
    """

    head: int
    relay: int
    log_copy: int
    projections: int
    lines: int


class System:
    """A running system, ready to be asked."""

    def __init__(self, home: Path, pid: int, port: int, ports: dict[str, int]) -> None:
        self.home = home
        self.port = port
        self.settings = settings_of(home)
        self.token = self.token_for(TENANT)
        self._process = psutil.Process(pid)
        self._ports = ports

    @property
    def owner_url(self) -> str:
        """Postgres, as superuser."""
        return self.settings.postgres.need("owner_url")

    def token_for(self, tenant: str) -> str:
        """A token of an accountant of that tenant."""
        return issue_token(
            self.settings, tenant=tenant, user=entries.USER, roles=["accountant"], ttl_s=_TOKEN_TTL_S
        )

    def metrics(self, part: str) -> dict[str, float]:
        """What `relay`, `worker` or `sagas` counts, by name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[part]}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value) for name, value in (each.rsplit(" ", 1) for each in lines if each[0] != "#")
        }

    def cpu_s(self) -> dict[str, float]:
        """Processor time so far: of each part, and of `everybody` on this machine."""
        now = psutil.cpu_times()
        used = {**dict.fromkeys(PARTS, 0.0), "everybody": sum(now) - now.idle - getattr(now, "iowait", 0.0)}
        for child in self._process.children():
            part = next((each for each in PARTS if each in child.cmdline()), None)
            if part is not None:
                used[part] += sum(cpu_s_of(each) for each in (child, *child.children(recursive=True)))
        for name, server in _SERVERS.items():
            pid = server(self.home).pid()
            if pid is not None:
                process = psutil.Process(pid)
                used[name] += sum(cpu_s_of(each) for each in (process, *process.children(recursive=True)))
        return used

    @contextmanager
    def processor_time(self) -> Iterator[dict[str, float]]:
        """What each part spends in the block, in s; filled in at its end."""
        used: dict[str, float] = {}
        before = self.cpu_s()
        yield used
        used |= {part: round(after - before[part], 2) for part, after in self.cpu_s().items()}

    def settle(self, timeout_s: float) -> float:
        """Wait until everything has come to the end of the log; the seconds that took.

        Raises:
            ChildFailed: it does not, in that time.
        """
        began = time.monotonic()
        while not self._is_settled():
            if time.monotonic() - began > timeout_s:
                raise ChildFailed(f"after {timeout_s:.0f} s the read side is not there: {self.standing()}")
            time.sleep(0.1)
        return time.monotonic() - began

    def rest(self, timeout_s: float) -> None:
        """Wait until ClickHouse has merged what the last load has left, and does next to nothing.

        Raises:
            ChildFailed: it does not, in that time.
        """
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            before = self.cpu_s()["clickhouse"]
            time.sleep(_LOOK_FOR_S)
            if self.cpu_s()["clickhouse"] - before < _IDLE_SHARE * _LOOK_FOR_S:
                return
        raise ChildFailed(f"after {timeout_s:.0f} s ClickHouse still has something to do")

    def standing(self) -> Standing:
        """How far it has come."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            return standing(connection)

    def _is_settled(self) -> bool:
        now = self.standing()
        try:
            tree = self.metrics("relay")["erp_relay_tree_size"]
        except OSError:
            return False  # it is still starting
        return min(now.relay, now.projections, tree) >= now.head


@contextmanager
def running(home: Path) -> Iterator[System]:
    """`erp up` on this home, from the first sign of readiness; its words go to `up.log` there.

    Raises:
        ChildFailed: it ended, or was not ready in time.
    """
    port, ports = free_port(), {part: free_port() for part in ("relay", "worker", "sagas")}
    environment = {
        "ERP_HOME": str(home),
        **{f"ERP_{part.upper()}__METRICS_PORT": str(number) for part, number in ports.items()},
    }
    with (
        (home / "up.log").open("ab") as words,
        spawned(
            [sys.executable, "-m", "erp", "up", "--port", str(port)],
            environment=environment,
            stdout=words,
            stderr=subprocess.STDOUT,
            stop_timeout_s=_STOP_TIMEOUT_S,
        ) as child,
    ):
        until_ready(child, port, "erp up")
        yield System(home, child.pid, port, ports)


def erp(home: Path, *arguments: str, timeout_s: float) -> tuple[float, str]:
    """How many seconds `erp …` took on that home, from its start to its end, and its last words.

    Raises:
        ChildFailed: it ended with an error, or not in time.
    """
    began = time.perf_counter()
    with spawned(
        [sys.executable, "-m", "erp", *arguments],
        environment={"ERP_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as child:
        try:
            out, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"erp {arguments[0]} did not end in {timeout_s:.0f} s") from None
    seconds = time.perf_counter() - began
    words = out.decode(errors="replace")[-_WORDS_KEPT:]
    if child.returncode:
        raise ChildFailed(f"erp {arguments[0]} ended with code {child.returncode}: {words}")
    return seconds, words


def settings_of(home: Path) -> Settings:
    """Settings of that home, for use from outside: its Postgres runs already."""
    return Settings(
        home=home,
        embedded=False,
        postgres=PostgresSettings(url=address.url(home, "erp_app"), owner_url=address.url(home)),
        auth=AuthSettings(keys=tuple(AuthKey(**key) for key in kept_keys(home))),
        personal=PersonalSettings(key=kept_master_key(home)),
    )


def standing(connection: "psycopg.Connection[Any]") -> Standing:
    """As Postgres says now."""
    row = connection.execute(_STANDING, [len(_NAMES), _NAMES, LINES.name], prepare=True).fetchone()
    assert row is not None, "tables of one row"
    return Standing(*row)
