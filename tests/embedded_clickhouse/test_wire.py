"""The protocol as it is on the wire: what clients rely on without saying so."""

import gzip
import json
import socket
import time
from typing import Any

import lz4.frame
import pytest

from erp.embedded.clickhouse.blocks import BlockEncoder, Blocks
from tests.embedded_clickhouse.conftest import Raw, running
from tests.waiting import until

pytestmark = pytest.mark.integration

LONG = "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 1"


@pytest.mark.parametrize("path", ["/ping", "/replicas_status", "/"])
def test_it_says_that_it_is_well_to_anybody(raw: Raw, path: str) -> None:
    told = raw(method="GET", path=path, headers={"X-ClickHouse-Key": "wrong"})
    assert (told.status, told.body) == (200, b"Ok.\n")


def test_there_is_nothing_elsewhere(raw: Raw) -> None:
    assert raw(method="GET", path="/dashboard").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-Key": ""},
        {"X-ClickHouse-User": "root"},
    ],
)
def test_nobody_gets_in_without_the_password(raw: Raw, headers: dict[str, str]) -> None:
    told = raw("SELECT 1", headers=headers)
    assert (told.status, told.headers["x-clickhouse-exception-code"]) == (403, "516")
    assert b"AUTHENTICATION_FAILED" in told.body


def test_the_password_may_come_in_three_ways(raw: Raw) -> None:
    import base64
    import http.client

    password = raw.credentials["X-ClickHouse-Key"]
    basic = base64.b64encode(f"default:{password}".encode()).decode()
    for target, headers in (
        ("/?query=SELECT+1", {"Authorization": f"Basic {basic}"}),
        (f"/?query=SELECT+1&user=default&password={password}", {}),
        ("/?query=SELECT+1", raw.credentials),
    ):
        connection = http.client.HTTPConnection(raw.host, raw.port)
        connection.request("GET", target, headers=headers)
        assert connection.getresponse().read() == b"1\n"
        connection.close()


def test_the_query_in_the_url_in_the_body_and_in_both(raw: Raw) -> None:
    assert raw(method="GET", query="SELECT 1").body == b"1\n"
    assert raw("SELECT 2").body == b"2\n"
    assert raw("(1), (2)", query="SELECT count() FROM (SELECT 1 WHERE 1 IN").status == 400
    assert raw("+ 3", query="SELECT 1").body == b"4\n"
    assert raw("1\n2\n", query="INSERT INTO FUNCTION null('a Int8') FORMAT TSV").status == 200


def test_headers_tell_what_the_answer_is(raw: Raw) -> None:
    told = raw("SELECT number FROM numbers(10)", query_id="mine", default_format="JSONEachRow")
    assert told.body.splitlines()[-1] == b'{"number":9}'
    assert told.headers["x-clickhouse-query-id"] == "mine"
    assert told.headers["x-clickhouse-format"] == "JSONEachRow"
    assert told.headers["x-clickhouse-timezone"] == "UTC"
    assert told.headers["content-type"].startswith("application/x-ndjson")
    summary = json.loads(told.headers["x-clickhouse-summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("10", "10")
    assert int(summary["elapsed_ns"]) > 0
    named = raw("SELECT 1 AS a FORMAT JSON", headers={"X-ClickHouse-Format": "CSV"})
    assert (named.headers["x-clickhouse-format"], json.loads(named.body)["data"]) == ("JSON", [{"a": 1}])


def test_a_header_cannot_be_smuggled_in(raw: Raw) -> None:
    told = raw("SELECT 1", query_id="a\r\nX-Evil: 1")
    assert "x-evil" not in told.headers
    assert told.headers["x-clickhouse-query-id"] == "aX-Evil: 1"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("SELEKT", 400, "62"),
        ("", 400, "62"),
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT throwIf(1)", 500, "395"),
        (
            "SELECT sleepEachRow(0.1) FROM numbers(30) SETTINGS max_execution_time = 0.1, max_block_size = 1",
            408,
            "159",
        ),
    ],
)
def test_faults_have_their_status_code_and_sentence(raw: Raw, query: str, status: int, code: str) -> None:
    told = raw(query)
    assert (told.status, told.headers["x-clickhouse-exception-code"]) == (status, code)
    assert told.body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert told.body.endswith(b")\n")


@pytest.mark.parametrize(
    "query", ["CREATE TABLE t (a Int8) ENGINE = Memory", "INSERT INTO t VALUES (1)", "KILL QUERY WHERE 0"]
)
def test_get_changes_nothing(raw: Raw, query: str) -> None:
    told = raw(method="GET", query=query)
    assert (told.status, told.headers["x-clickhouse-exception-code"]) == (500, "164")
    assert raw(method="GET", query="SHOW DATABASES").status == 200


@pytest.mark.parametrize("encoding", ["gzip", "lz4"])
def test_answers_are_packed_for_those_who_ask(raw: Raw, encoding: str) -> None:
    query = "SELECT number FROM numbers(100000)"
    plain = raw(query, headers={"Accept-Encoding": "identity"})
    told = raw(query, headers={"Accept-Encoding": encoding})
    assert told.headers["content-encoding"] == encoding
    unpacked = {"gzip": gzip.decompress, "lz4": lz4.frame.decompress}[encoding](told.body)
    assert unpacked == plain.body
    assert (
        "content-encoding"
        not in raw(query, headers={"Accept-Encoding": encoding}, enable_http_compression=0).headers
    )


def test_bodies_in_clickhouses_own_blocks(raw: Raw) -> None:
    packed = BlockEncoder().encode(b"SELECT number ") + BlockEncoder().encode(b"FROM numbers(200000)")
    told = raw(packed, decompress=1, compress=1)
    blocks = Blocks()
    assert b"".join(blocks.feed(told.body)).splitlines() == [b"%d" % n for n in range(200_000)]
    blocks.finish()
    assert raw(packed[:-2], decompress=1).headers["x-clickhouse-exception-code"] == "3"
    assert raw(b"SELECT 1", headers={"Content-Encoding": "snappy"}).status == 501


def test_an_error_behind_the_first_rows_is_marked_with_the_answers_tag(raw: Raw) -> None:
    told = raw("SELECT throwIf(number = 3000000) FROM numbers(4000000) SETTINGS max_block_size = 10000")
    assert told.status == 200
    tag = told.headers["x-clickhouse-exception-tag"].encode()
    *_, last = told.body.split(b"\r\n__exception__\r\n" + tag + b"\r\n")
    message, _, end = last.rpartition(b" " + tag + b"\r\n__exception__\r\n")
    assert end == b""
    assert b"Code: 395." in message
    waited = raw("SELECT throwIf(number = 3000000) FROM numbers(4000000)", wait_end_of_query=1)
    assert waited.status == 500


def hang_up_during(raw: Raw, query: str) -> None:
    """Ask, wait until it runs, and leave without a word."""
    credentials = "".join(f"{name}: {value}\r\n" for name, value in raw.credentials.items())
    with socket.create_connection((raw.host, raw.port)) as client:
        head = f"POST / HTTP/1.1\r\nHost: x\r\n{credentials}Content-Length: {len(query)}\r\n\r\n"
        client.sendall(head.encode() + query.encode())
        until(lambda: running(raw, query.split()[1]) == 1)


def test_a_query_whose_client_has_gone_is_ended(raw: Raw) -> None:
    hang_up_during(raw, LONG)
    until(lambda: running(raw, "count()") == 0)


def test_an_endless_answer_ends_with_its_reader(raw: Raw) -> None:
    hang_up_during(raw, "SELECT cityHash64(number) FROM system.numbers")
    until(lambda: running(raw, "system.numbers") == 0)


def test_an_insert_whose_client_has_gone_writes_nothing(raw: Raw, client: Any) -> None:
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    credentials = "".join(f"{name}: {value}\r\n" for name, value in raw.credentials.items())
    with socket.create_connection((raw.host, raw.port)) as cut:
        head = f"POST /?database=test HTTP/1.1\r\nHost: x\r\n{credentials}Content-Length: 100000\r\n\r\n"
        cut.sendall(head.encode() + b"INSERT INTO t FORMAT TSV\n1\n2\n3\n")
        time.sleep(0.2)
    time.sleep(0.2)
    assert client.command("SELECT count() FROM t") == 0


def test_a_connection_serves_many_requests_also_after_faults(raw: Raw) -> None:
    import http.client

    connection = http.client.HTTPConnection(raw.host, raw.port)
    for query, status in (
        ("SELECT 1", 200),
        ("SELEKT", 400),
        ("INSERT INTO no FORMAT TSV\n" + "1\n" * 500_000, 404),
        ("SELECT 2", 200),
    ):
        connection.request("POST", "/", query.encode(), raw.credentials)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (status, True)
    connection.close()
