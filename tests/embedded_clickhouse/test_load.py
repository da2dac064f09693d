"""Much at once: large results in bounded memory, slow readers, many clients, more than the server takes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import clickhouse_connect
import psutil
import pytest

from tests.embedded_clickhouse.conftest import Raw

pytestmark = pytest.mark.integration

MIB = 1 << 20


class Watch:
    """How much more memory the server had, at most, than when the block began."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._before = self._most = self._process.memory_info().rss
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def grown_mib(self) -> float:
        return (self._most - self._before) / MIB


def test_a_million_rows_are_read_whole(client: Any, server: Any) -> None:
    query = "SELECT number, toString(number) AS s, toDecimal128(number, 4) AS d FROM numbers(1000000)"
    client.query(query)
    with Watch(server.pid()) as watch, client.query_column_block_stream(query) as stream:
        assert sum(len(block[0]) for block in stream) == 1_000_000
    assert watch.grown_mib < 150


@pytest.mark.parametrize("form", ["Native", "JSONEachRow", "JSON"])
def test_a_slow_reader_of_a_large_answer_costs_the_server_little(raw: Raw, server: Any, form: str) -> None:
    """Two gigabytes would come; the reader takes some, waits, and goes."""
    import http.client

    raw(f"SELECT number FROM numbers(100000) FORMAT {form}")
    connection = http.client.HTTPConnection(raw.host, raw.port)
    with Watch(server.pid()) as watch:
        query = f"SELECT number, repeat('x', 1000) AS s FROM numbers(2000000) FORMAT {form}"
        connection.request("POST", "/", query, raw.credentials)
        answer = connection.getresponse()
        for _ in range(10):
            answer.read(MIB)
            time.sleep(0.1)
        connection.close()
    assert watch.grown_mib < 250


def test_many_clients_write_and_read_at_once(client: Any, server: Any) -> None:
    client.command("CREATE TABLE t (writer UInt8, n UInt64) ENGINE = MergeTree ORDER BY (writer, n)")

    def work(writer: int) -> int:
        with clickhouse_connect.get_client(dsn=server.url, database="test") as own:
            for turn in range(5):
                rows = [[writer] * 2000, list(range(turn * 2000, turn * 2000 + 2000))]
                own.insert("t", rows, column_names=["writer", "n"], column_oriented=True)
                assert own.command(f"SELECT count() FROM t WHERE writer = {writer}") == (turn + 1) * 2000
            return writer

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(work, range(16))) == list(range(16))
    assert client.query("SELECT count(), uniqExact(writer, n) FROM t").first_row == (160_000, 160_000)


def test_tables_come_and_go_under_readers(client: Any, server: Any) -> None:
    """Switching generations while queries run: a reader sees one table or the other, never none."""
    for name in ("serving", "next"):
        client.command(f"CREATE TABLE {name} (n UInt64) ENGINE = MergeTree ORDER BY n")
        client.command(f"INSERT INTO {name} SELECT number FROM numbers(1000)")
    over = threading.Event()

    def read() -> int:
        count = 0
        with clickhouse_connect.get_client(dsn=server.url, database="test") as own:
            while not over.is_set():
                assert own.command("SELECT count() FROM serving") == 1000
                count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for _ in range(30):
            client.command("EXCHANGE TABLES serving AND next")
        over.set()
        assert all(reader.result() > 0 for reader in readers)


def test_more_queries_than_it_takes_are_refused_and_the_others_answered(raw: Raw) -> None:
    ask: Callable[[int], Any] = lambda n: raw(f"SELECT {n}, sleep(1)")  # noqa: E731
    with ThreadPoolExecutor(80) as pool:
        told = list(pool.map(ask, range(80)))
    refused = [each for each in told if each.status == 503]
    assert {each.headers["x-clickhouse-exception-code"] for each in refused} == {"202"}
    assert b"Too many simultaneous queries. Maximum: 64" in refused[0].body
    assert [each.status for each in told].count(200) == 80 - len(refused) >= 64
    assert raw("SELECT 1").status == 200
