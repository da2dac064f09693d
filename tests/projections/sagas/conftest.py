"""The tables of sagas, made once for a module."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from projections.sagas import SAGAS_PROJECTIONS
from tests.projections.shelf import Shelf, shelf_with


@pytest.fixture(scope="module")
def shelf(clickhouse_server: Any, runner: asyncio.Runner) -> Iterator[Shelf]:
    with shelf_with(clickhouse_server.url, runner, SAGAS_PROJECTIONS) as shelf:
        yield shelf
