"""Queries by the ordinary clients: parameters, settings, streams, errors, sessions, external data."""

import asyncio
import datetime as dt
import threading
import time
import uuid
from decimal import Decimal
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from tests.embedded_clickhouse.conftest import running
from tests.waiting import until

pytestmark = pytest.mark.integration

AWKWARD = 'it\'s \\ "quoted" \t\n {x} 借方 \N{PARTY POPPER}'


def test_parameters_of_many_types(client: Any) -> None:
    at = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
    key = uuid.uuid4()
    found = client.query(
        "SELECT {s:String}, {n:Int64}, {d:Decimal(38,4)}, {u:UUID}, {a:Array(String)}, {day:Date},"
        " {none:Nullable(String)}, {at:DateTime64(6,'UTC')}",
        parameters={
            "s": AWKWARD,
            "n": -5,
            "d": Decimal("1.5000"),
            "u": key,
            "a": [AWKWARD, ""],
            "day": at.date(),
            "none": None,
            "at": at,
        },
    )
    assert found.first_row == (AWKWARD, -5, Decimal("1.5000"), key, [AWKWARD, ""], at.date(), None, at)


def test_large_parameters_come_as_a_form(client: Any) -> None:
    ids = list(range(20_000))
    query = "SELECT count() FROM numbers(30000) WHERE number IN {ids:Array(UInt64)}"
    assert client.query(query, parameters={"ids": ids}).first_row == (20_000,)


def test_parameters_bound_by_the_client(client: Any) -> None:
    assert client.query("SELECT %(a)s, %(b)s", parameters={"a": AWKWARD, "b": 7}).first_row == (AWKWARD, 7)


def test_settings_are_for_one_request(client: Any) -> None:
    query = "SELECT getSetting('max_block_size')"
    before = client.query(query).first_row
    assert client.query(query, settings={"max_block_size": 77}).first_row == (77,)
    assert client.query(query).first_row == before


def test_a_comment_a_semicolon_and_an_alias_named_format_change_nothing(client: Any) -> None:
    assert client.query("SELECT 1 AS format -- FORMAT JSON").first_row == (1,)
    assert client.query("/* a */ SELECT ';' /* FORMAT */;").first_row == (";",)
    assert client.query("WITH x AS (SELECT 1 AS a) SELECT a FROM x SETTINGS max_threads = 1").first_row == (
        1,
    )


def test_no_rows(client: Any) -> None:
    assert client.query("SELECT 1 WHERE 0").result_rows == []
    assert client.query("SELECT number AS a, toString(number) AS b FROM numbers(5) LIMIT 0").column_names == (
        "a",
        "b",
    )
    assert client.command("CREATE TABLE t (a Int8) ENGINE = Memory") is not None
    assert client.query("SELECT * FROM t").result_rows == []
    assert client.query_df("SELECT * FROM t").empty


def test_rows_columns_and_blocks_are_streamed(client: Any) -> None:
    query = "SELECT number, toString(number) AS s FROM numbers(300000)"
    with client.query_row_block_stream(query) as stream:
        sizes = [len(block) for block in stream]
    assert sum(sizes) == 300_000
    assert len(sizes) > 1
    with client.query_column_block_stream(query) as stream:
        assert sum(sum(block[0]) for block in stream) == sum(range(300_000))
    with client.query_rows_stream(query) as stream:
        assert sum(1 for _ in stream) == 300_000


def test_a_stream_that_is_left_half_read_blocks_nobody(client: Any) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(50000000)") as stream:
        next(iter(stream))
    assert client.query("SELECT 1").first_row == (1,)


def test_other_formats_come_out_whole(client: Any) -> None:
    query = "SELECT number, toString(number) AS s FROM numbers(200000)"
    import json

    found = json.loads(client.raw_query(query, fmt="JSON"))
    assert (found["rows"], found["data"][-1]["s"]) == (200_000, "199999")
    csv = client.raw_query(query, fmt="CSVWithNames").splitlines()
    assert (csv[0], len(csv)) == (b'"number","s"', 200_001)
    parquet = client.raw_query(query, fmt="Parquet")
    assert (parquet[:4], parquet[-4:]) == (b"PAR1", b"PAR1")


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("SELEKT 1", 62, "Syntax error"),
        ("SELECT (1", 62, "Syntax error"),
        ("SELECT * FROM nowhere", 60, "nowhere"),
        ("SELECT * FROM no.where", 81, "no"),
        ("SELECT nothing FROM numbers(1)", 47, "nothing"),
        ("SELECT 1 + 'a'", 43, "Illegal type"),
        ("SELECT toUInt8('x')", 6, "Cannot parse"),
        ("SELECT throwIf(1, 'because')", 395, "because"),
        ("SELECT {p:UInt8}", 456, "p"),
        ("SELECT 1; SELECT 2", 62, "Multi-statements"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 358, "INTO OUTFILE"),
        ("DROP TABLE nowhere", 60, "nowhere"),
    ],
)
def test_errors_have_the_engines_codes_and_words(client: Any, query: str, code: int, words: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        client.query(query)
    assert refused.value.code == code
    assert words in str(refused.value)
    assert "/dev/fd" not in str(refused.value), "what this server adds to a statement stays its own"


def test_an_unknown_setting_and_an_unknown_database_are_told(client: Any, raw: Any) -> None:
    with pytest.raises(DatabaseError) as refused:
        client.query("SELECT 1", settings={"no_such_setting": 1})
    assert refused.value.code == 115
    told = raw("SELECT 1", database="nowhere")
    assert (told.status, told.headers["x-clickhouse-exception-code"]) == (404, "81")


def test_a_query_that_takes_too_long_is_ended(client: Any) -> None:
    with pytest.raises(DatabaseError) as refused:
        client.query(
            "SELECT sum(cityHash64(number)) FROM numbers(100000000000)", settings={"max_execution_time": 0.3}
        )
    assert refused.value.code == 159


def test_an_error_behind_the_first_rows_reaches_the_reader(client: Any) -> None:
    query = "SELECT number, throwIf(number = 3000000, 'too far') FROM numbers(5000000)"
    with pytest.raises(StreamFailureError, match="too far"), client.query_row_block_stream(query) as stream:
        for _ in stream:
            pass
    with pytest.raises(DatabaseError, match="too far"):  # waits for the end, hence has a status of its own
        client.query(query)


def test_a_query_that_needs_too_much_memory_is_refused_and_the_server_lives(client: Any) -> None:
    with pytest.raises(DatabaseError) as refused:
        client.query(
            "SELECT number, count() FROM numbers(100000000) GROUP BY number",
            settings={"max_memory_usage": 50_000_000, "max_bytes_before_external_group_by": 0},
        )
    assert refused.value.code == 241
    assert client.query("SELECT 1").first_row == (1,)


def test_a_session_keeps_temporary_tables_and_settings(server: Any, client: Any) -> None:
    with clickhouse_connect.get_client(dsn=server.url, session_id="one") as mine:
        mine.command("CREATE TEMPORARY TABLE mine (a Int8)")
        mine.insert("mine", [[7]], column_names=["a"])
        mine.command("SET max_block_size = 99")
        assert mine.query("SELECT a, getSetting('max_block_size') FROM mine").first_row == (7, 99)
    with clickhouse_connect.get_client(dsn=server.url, session_id="two") as other:
        assert other.query("SELECT getSetting('max_block_size')").first_row != (99,)
        with pytest.raises(DatabaseError):
            other.query("SELECT * FROM mine")
    with clickhouse_connect.get_client(dsn=server.url, autogenerate_session_id=False) as none:
        none.command("CREATE TEMPORARY TABLE mine (a Int8)")
        none.command("SET max_block_size = 99")
        assert none.query("SELECT getSetting('max_block_size')").first_row != (99,)
        with pytest.raises(DatabaseError):
            none.query("SELECT * FROM mine")


def test_a_session_serves_one_request_at_a_time(raw: Any) -> None:
    slow = threading.Thread(target=raw, args=("SELECT sleep(3)",), kwargs={"session_id": "busy"})
    slow.start()
    until(lambda: running(raw, "sleep(3)"))
    told = raw("SELECT 1", session_id="busy")
    slow.join()
    assert told.headers["x-clickhouse-exception-code"] == "373"
    assert raw("SELECT 1", session_id="busy").status == 200
    assert (
        raw("SELECT 1", session_id="never", session_check=1).headers["x-clickhouse-exception-code"] == "372"
    )


def test_data_that_come_with_a_query(client: Any) -> None:
    data = ExternalData(
        file_name="codes.csv", data=b"1122,a\n6001,b\n", fmt="CSV", types=["UInt32", "String"]
    )
    data.add_file(
        file_name="amounts.csv",
        data=b"1122,1.5\n",
        fmt="CSV",
        structure=["code UInt32", "amount Decimal(38, 4)"],
    )
    query = "SELECT _2, amount FROM codes JOIN amounts ON _1 = code"
    assert client.query(query, external_data=data).result_rows == [("a", Decimal("1.5000"))]
    with pytest.raises(DatabaseError):
        client.query("SELECT * FROM codes")


def test_the_instance_is_the_data_folders(client: Any, server: Any, raw: Any) -> None:
    assert str(client.query("SELECT erpInstance()").first_row[0]) == server.instance
    assert raw("SELECT 1").headers["x-clickhouse-server-display-name"] == server.instance


def test_a_server_of_embedded_manners(client: Any) -> None:
    found = client.query("SELECT timezone(), getSetting('async_insert'), getSetting('implicit_select')")
    assert found.first_row == ("UTC", False, False)


async def test_the_asynchronous_client(async_client: Any) -> None:
    await async_client.command("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
    rows = [list(range(100_000)), [AWKWARD] * 100_000]
    await async_client.insert("t", rows, column_names=["n", "s"], column_oriented=True)
    found = await async_client.query(
        "SELECT count(), uniqExact(n), any(s) FROM t WHERE n >= {n:UInt64}", parameters={"n": 5}
    )
    assert found.first_row == (99_995, 99_995, AWKWARD)
    await async_client.raw_insert("t", ["n"], b'{"n":1}\n', fmt="JSONEachRow")
    async with await async_client.query_row_block_stream("SELECT n FROM t") as stream:
        assert sum([len(block) async for block in stream]) == 100_001
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        await async_client.query("SELECT * FROM nowhere")


async def test_many_queries_of_one_asynchronous_client_at_once(async_client: Any) -> None:
    started = time.monotonic()
    answers = await asyncio.gather(*(async_client.query(f"SELECT {n}, sleep(0.2)") for n in range(16)))
    assert [answer.first_row[0] for answer in answers] == list(range(16))
    assert time.monotonic() - started < 16 * 0.2
