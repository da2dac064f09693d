"""The tables of finance, made once for a module; a loop of their own, for Hypothesis runs no async test."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from tests.projections.finance.shelf import Shelf


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def shelf(clickhouse_server: Any, runner: asyncio.Runner) -> Iterator[Shelf]:
    """Tables with nothing in them at first."""
    import clickhouse_connect

    from projections.clickhouse import ClickHouse

    name = f"finance_{uuid4().hex}"
    url = urlunsplit(urlsplit(clickhouse_server.url)._replace(path=f"/{name}"))
    with clickhouse_connect.get_client(dsn=clickhouse_server.url) as admin:
        admin.command(f"CREATE DATABASE {name}")
        clickhouse = ClickHouse(lambda: url)
        yield Shelf(clickhouse)
        runner.run(clickhouse.__aexit__())
        admin.command(f"DROP DATABASE {name} SYNC")
