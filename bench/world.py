"""Where a bench takes place: an embedded Postgres of its own, with fsync on, and databases to measure on.

Its home is a folder beside the figures, on the disk that real data would be on (`/tmp` may be memory), and
is removed afterwards; what a run that was killed left behind is removed by the next one.
"""

import asyncio
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson
import psutil
import psycopg
from psycopg import sql

from bench import entries
from erp.embedded import address
from erp.embedded.cluster import Cluster
from erp.embedded.postgres import EmbeddedPostgres
from erp.secrets import kept_keys, kept_master_key
from erp.settings import AuthKey, AuthSettings, PersonalSettings, PostgresSettings, Settings
from erp.tenants import create_tenant
from erp.tokens import issue_token
from eventstore.migrate import migrate

_TEMPLATE: Final = "bench_template"
_MAINTENANCE: Final = "postgres"
_TOKEN_TTL_S: Final = 24 * 3600


class World:
    """A running Postgres, and a template of databases: schema, a tenant, its standard books."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.home = server.home
        self._server = server
        self._keys = kept_keys(server.home)
        self._create(_TEMPLATE, "template1")
        settings = self.settings(_TEMPLATE)
        migrate(settings.postgres.owner_url)
        asyncio.run(create_tenant(settings, entries.TENANT, chart="standard", currency="EUR", timezone="UTC"))
        self.token = issue_token(
            settings, tenant=entries.TENANT, user=entries.USER, roles=["accountant"], ttl_s=_TOKEN_TTL_S
        )

    def database(self, name: str) -> str:
        """Make a database with nothing in its log but the tenant's chart and periods; its name again."""
        return self._create(name, _TEMPLATE)

    def bare_database(self, name: str) -> str:
        """Make a database with nothing in it at all."""
        return self._create(name, "template1")

    def drop(self, name: str) -> None:
        """Remove the database, whoever is connected."""
        self._maintain(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def settle(self, name: str) -> None:
        """Do now what Postgres would otherwise do while others measure: vacuum, statistics, checkpoint."""
        with psycopg.connect(self.owner_url(name), autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def owner_url(self, name: str) -> str:
        """As superuser."""
        return address.url(self.home, database=name)

    def app_url(self, name: str) -> str:
        """As the application."""
        return address.url(self.home, "erp_app", name)

    def settings(self, name: str) -> Settings:
        """Settings of a deployment on that database."""
        return Settings(
            home=self.home,
            embedded=False,
            postgres=PostgresSettings(url=self.app_url(name), owner_url=self.owner_url(name)),
            auth=AuthSettings(keys=tuple(AuthKey(**key) for key in self._keys)),
            personal=PersonalSettings(key=kept_master_key(self.home)),
        )

    def environment(self, name: str) -> dict[str, str]:
        """The same for a child process."""
        return {
            "ERP_HOME": str(self.home),
            "ERP_POSTGRES__URL": self.app_url(name),
            "ERP_AUTH__KEYS": orjson.dumps(self._keys).decode(),
            "ERP_PERSONAL__KEY": kept_master_key(self.home),
        }

    def facts(self) -> dict[str, str]:
        """The server's version, and the settings that its speed depends on."""
        return postgres_facts(self._server.url)

    def postgres_cpu_s(self) -> float:
        """Processor time of the server's processes so far, those that have ended excepted."""
        pid = self._server.pid()
        if pid is None:
            return 0.0
        main = psutil.Process(pid)
        total = 0.0
        for process in (main, *main.children()):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def _create(self, name: str, template: str) -> str:
        self._maintain(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return name

    def _maintain(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.owner_url(_MAINTENANCE), autocommit=True) as connection:
            connection.execute(statement)


def postgres_facts(url: str) -> dict[str, str]:
    """A server's version, and the settings that its speed depends on."""
    names = (
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "shared_buffers",
        "max_wal_size",
        "wal_sync_method",
    )
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY (%s)", [list(names)]
        )
        return dict(found.fetchall())


class AlreadyRunning(Exception):
    """Another bench measures here; two at once would measure each other."""


@contextmanager
def world(figures: Path) -> Iterator[World]:
    """A world in a folder of its own below `figures`, gone when the block ends.

    Raises:
        AlreadyRunning: another bench uses that folder.
    """
    with own_folder(figures) as home, EmbeddedPostgres(home) as server:
        yield World(server)


@contextmanager
def own_folder(figures: Path) -> Iterator[Path]:
    """A new folder below `figures`, gone when the block ends, with the Postgres in it if that still runs.

    Raises:
        AlreadyRunning: another bench uses `figures`.
    """
    figures.mkdir(parents=True, exist_ok=True)
    with (figures / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"another bench runs in {figures}") from None
        for left in figures.glob("run-*"):
            remove(left)
        home = Path(tempfile.mkdtemp(prefix="run-", dir=figures))
        try:
            yield home
        finally:
            remove(home)


def remove(home: Path) -> None:
    """Stop the Postgres of a home, if it still runs, and delete the folder."""
    Cluster(home).stop()
    shutil.rmtree(home)
