"""One embedded ClickHouse for these tests, the ordinary clients on it, and a raw connection beside them."""

import http.client
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest


class Reply(NamedTuple):
    """What a raw request was told."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Raw:
    """Requests as they are on the wire, beside what the client makes of them."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port = parts.hostname, parts.port
        self.credentials = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": parts.password or ""}

    def __call__(
        self,
        body: bytes | str = b"",
        *,
        method: str = "POST",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        **params: object,
    ) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            target = f"{path}?{urlencode(params)}" if params else path
            sent = self.credentials if headers is None else {**self.credentials, **headers}
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, target, data, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def running(raw: Raw, words: str) -> int:
    """How many queries that contain the words are being worked on."""
    told = raw(
        f"SELECT count() FROM system.processes WHERE query LIKE '%{words}%' AND query NOT LIKE '%processes%'"
    )
    return int(told.body)


@pytest.fixture(scope="session")
def clickhouse_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="erp-test-") as folder:
        yield Path(folder).resolve() / ".erp"


@pytest.fixture(scope="session")
def server(clickhouse_home: Path) -> Iterator[Any]:
    from erp.embedded.clickhouse import EmbeddedClickhouse

    with EmbeddedClickhouse(clickhouse_home) as server:
        yield server


@pytest.fixture
def client(server: Any) -> Iterator[Any]:
    """The ordinary client, in a database of the test's own."""
    import clickhouse_connect

    with clickhouse_connect.get_client(dsn=server.url) as admin:
        admin.command("DROP DATABASE IF EXISTS test")
        admin.command("CREATE DATABASE test")
    with clickhouse_connect.get_client(dsn=server.url, database="test", tz_mode="aware") as client:
        yield client


@pytest.fixture
async def async_client(client: Any, server: Any) -> AsyncIterator[Any]:
    """The ordinary asynchronous client, in the same database."""
    import clickhouse_connect

    async with await clickhouse_connect.get_async_client(dsn=server.url, database="test") as found:
        yield found


@pytest.fixture
def raw(server: Any) -> Raw:
    return Raw(server.url)


@pytest.fixture
def own_home() -> Iterator[Path]:
    """A home of the test's own, not made yet; no server is left in it, however the test ends."""
    from erp.embedded.clickhouse import EmbeddedClickhouse

    with tempfile.TemporaryDirectory(prefix="erp-test-") as folder:
        home = Path(folder).resolve() / ".erp"
        yield home
        server = EmbeddedClickhouse(home)
        if server.is_alive():
            with server:  # the last one out stops what a killed process has left running
                pass
