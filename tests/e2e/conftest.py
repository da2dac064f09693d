"""One running system for all of these tests; a tenant for each."""

from collections.abc import Iterator

import pytest

from tests.e2e.system import Api, Books, Home, Process, running_home
from tests.waiting import until


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    """The home of the system."""
    with running_home() as made:
        yield made


@pytest.fixture(scope="session")
def one_api(home: Home) -> Iterator[Api]:
    with Api(home.path) as running:
        yield running


@pytest.fixture
def api(one_api: Api) -> Api:
    """An `erp api` that runs and is ready, whatever the test before did to it."""
    return one_api.start()


@pytest.fixture
def worker(home: Home, api: Api) -> Iterator[Process]:
    """An `erp worker` that fills ClickHouse, which it starts, as it does the broker. Without a relay it takes
    the events from Postgres.
    """
    running = Process(home.path, "worker")
    try:
        until(lambda: api.is_read() or not running.is_alive(), "reports are answered", 120)
        assert running.is_alive(), running.output
        yield running
    finally:
        running.end()


@pytest.fixture
def empty_books(home: Home, api: Api) -> Iterator[Books]:
    """A tenant of its own, with nothing in its books."""
    books = Books.new(home, api.url)
    yield books
    books.close()


@pytest.fixture
def books(empty_books: Books) -> Books:
    """A tenant of its own, with the fiscal year 2026 and the accounts 1122 and 6001."""
    return empty_books.opened()
