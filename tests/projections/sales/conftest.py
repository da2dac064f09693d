"""The tables of sales, made once for a module."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from projections.sales import SALES_PROJECTIONS
from tests.projections.shelf import Shelf, shelf_with


@pytest.fixture(scope="module")
def shelf(clickhouse_server: Any, runner: asyncio.Runner) -> Iterator[Shelf]:
    with shelf_with(clickhouse_server.url, runner, SALES_PROJECTIONS) as shelf:
        yield shelf
