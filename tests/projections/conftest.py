"""A ClickHouse for these tests, and a database in it for each."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import pytest

from projections.clickhouse import ClickHouse
from tests.eventstore.conftest import new_tenant
from tests.projections.world import World, world


@pytest.fixture(scope="session")
def clickhouse_server() -> Iterator[Any]:
    """An embedded ClickHouse."""
    from erp.embedded.clickhouse import EmbeddedClickhouse

    with (
        tempfile.TemporaryDirectory(prefix="erp-test-") as folder,
        EmbeddedClickhouse(Path(folder).resolve() / ".erp") as server,
    ):
        yield server


@pytest.fixture
def clickhouse_url(clickhouse_server: Any) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    import clickhouse_connect

    name = f"scratch_{uuid4().hex}"
    with clickhouse_connect.get_client(dsn=clickhouse_server.url) as admin:
        admin.command(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(clickhouse_server.url)._replace(path=f"/{name}"))
        admin.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
async def read_side(own_url: str, clickhouse_url: str) -> AsyncIterator[World]:
    """A read side of the test's own."""
    async with world(own_url, clickhouse_url) as made:
        yield made


@pytest.fixture
def tenant(own_url: str) -> UUID:
    """A tenant with nothing in it."""
    return new_tenant(own_url)


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    """A client of a database with nothing in it."""
    async with ClickHouse(lambda: clickhouse_url) as client:
        yield client


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """A loop of their own, for tests with Hypothesis, which runs no async ones."""
    with asyncio.Runner() as runner:
        yield runner
