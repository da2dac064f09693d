"""Inserts by the ordinary client: every way in, in blocks, refused as a whole; what SQL does with rows."""

import json
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

pytestmark = pytest.mark.integration

LINES = """
CREATE TABLE lines (
    position UInt64, account LowCardinality(String), amount Decimal(38, 4), memo String DEFAULT 'none'
)
ENGINE = MergeTree ORDER BY position PARTITION BY intDiv(position, 100000)
"""


@pytest.fixture
def lines(client: Any) -> Any:
    client.command(LINES)
    return client


def counted(client: Any, table: str = "lines") -> tuple[int, int]:
    """Rows and distinct positions."""
    found: tuple[int, int] = client.query(f"SELECT count(), uniqExact(position) FROM {table}").first_row
    return found


def columns(rows: int) -> list[list[Any]]:
    return [list(range(rows)), ["1122"] * rows, [Decimal("1.5000")] * rows]


NAMES = ["position", "account", "amount"]


def test_a_hundred_thousand_rows_arrive_though_they_come_in_several_blocks(lines: Any) -> None:
    told = lines.insert("lines", columns(100_000), column_names=NAMES, column_oriented=True)
    assert told.written_rows == 100_000
    assert counted(lines) == (100_000, 100_000)
    assert lines.query("SELECT sum(amount) FROM lines").first_row == (Decimal("150000.0000"),)
    parts = "SELECT count() FROM system.parts WHERE database = 'test' AND table = 'lines' AND active"
    assert lines.command(parts) == 1, "blocks of the client are gathered into one part"


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_every_encoding_of_the_client_is_understood(lines: Any, server: Any, compress: Any) -> None:
    import clickhouse_connect

    with clickhouse_connect.get_client(dsn=server.url, database="test", compress=compress) as client:
        client.insert("lines", columns(70_000), column_names=NAMES, column_oriented=True)
        assert counted(client) == (70_000, 70_000)
        assert len(client.query("SELECT * FROM lines").result_columns[0]) == 70_000


def test_raw_json_lines(lines: Any) -> None:
    rows = "".join(f'{{"position":{n},"account":"借方","amount":"{n}.2500"}}\n' for n in range(10_000))
    told = lines.raw_insert("lines", NAMES, rows.encode(), fmt="JSONEachRow")
    assert told.written_rows == 10_000
    assert counted(lines) == (10_000, 10_000)
    assert lines.query("SELECT account, amount, memo FROM lines WHERE position = 7").first_row == (
        "借方",
        Decimal("7.2500"),
        "none",
    )


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip"])
def test_raw_inserts_may_be_compressed_and_generated(lines: Any, compression: str) -> None:
    import gzip

    import lz4.frame
    from backports import zstd

    pack = {"lz4": lz4.frame.compress, "zstd": zstd.compress, "gzip": gzip.compress}[compression]
    pieces = (pack(f'{{"position":{n},"account":"1","amount":1}}\n'.encode()) for n in range(300))
    lines.raw_insert("lines", NAMES, pieces, fmt="JSONEachRow", compression=compression)
    assert counted(lines) == (300, 300)


def test_csv_values_and_rows_of_binary(lines: Any) -> None:
    lines.raw_insert("lines", NAMES, '1,"a ""quoted"" one",1.5\n2,b,2.5\n', fmt="CSV")
    lines.command("INSERT INTO lines (position, account, amount) VALUES (3, 'it''s', 1 + 2), (4, 'd', 4)")
    lines.raw_insert("lines", ["position"], (5).to_bytes(8, "little"), fmt="RowBinary")
    found = lines.query("SELECT position, account, amount FROM lines ORDER BY position").result_rows
    assert found == [
        (1, 'a "quoted" one', Decimal("1.5000")),
        (2, "b", Decimal("2.5000")),
        (3, "it's", Decimal("3.0000")),
        (4, "d", Decimal("4.0000")),
        (5, "", Decimal("0.0000")),
    ]


def test_arrow_goes_in_and_comes_out(lines: Any) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(
        {"position": pyarrow.array(range(70_000), pyarrow.uint64()), "account": ["x"] * 70_000}
    )
    lines.insert_arrow("lines", table)
    assert counted(lines) == (70_000, 70_000)
    found = lines.query_arrow("SELECT position, account FROM lines ORDER BY position", use_strings=True)
    assert found.column("position").to_pylist() == list(range(70_000))
    with lines.query_arrow_stream("SELECT position FROM lines") as stream:
        assert sum(batch.num_rows for batch in stream) == 70_000


def test_a_bad_row_refuses_the_whole_insert(lines: Any) -> None:
    rows = "".join(f'{{"position":{n}}}\n' for n in range(5000)) + '{"position":"many"}\n'
    with pytest.raises(DatabaseError) as refused:
        lines.raw_insert("lines", ["position"], rows, fmt="JSONEachRow")
    assert refused.value.code in {27, 72, 117}
    assert counted(lines) == (0, 0)


def test_a_value_that_does_not_fit_is_told_by_the_client_and_nothing_is_written(lines: Any) -> None:
    with pytest.raises(Exception, match=r"position|UInt64|int"):
        lines.insert("lines", [[*range(70_000), "x"]], column_names=["position"], column_oriented=True)
    assert counted(lines) == (0, 0)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("INSERT INTO nowhere FORMAT JSONEachRow", 60),
        ("INSERT INTO lines (nothing) FORMAT JSONEachRow", 16),
        ("INSERT INTO lines FORMAT Nonsense", 73),
        ("INSERT INTO lines (position FORMAT JSONEachRow", 62),
        ("INSERT INTO lines FROM INFILE 'x' FORMAT CSV", 78),
    ],
)
def test_refusals_of_inserts(lines: Any, statement: str, code: int) -> None:
    with pytest.raises(DatabaseError) as refused:
        lines.command(statement, data='{"position":1}\n')
    assert refused.value.code == code
    assert counted(lines) == (0, 0)


def test_settings_and_parameters_of_an_insert(lines: Any) -> None:
    lines.command("INSERT INTO lines (position) SETTINGS max_threads = 1 VALUES (1)")
    lines.insert("lines", [[2]], column_names=["position"], settings={"max_insert_block_size": 1000})
    lines.command(
        "INSERT INTO {table:Identifier} (position, account) VALUES ({p:UInt64}, {a:String})",
        parameters={"table": "lines", "p": 3, "a": "it's \\ \t\n 借"},
    )
    found = lines.query("SELECT position, account FROM lines ORDER BY position").result_rows
    assert found == [(1, ""), (2, ""), (3, "it's \\ \t\n 借")]


def test_insert_select_and_mutations(lines: Any) -> None:
    lines.command(
        "INSERT INTO lines (position, account, amount) SELECT number, 'a', number FROM numbers(1000)"
    )
    lines.command("ALTER TABLE lines UPDATE memo = 'changed' WHERE position < 10 SETTINGS mutations_sync = 1")
    lines.command("ALTER TABLE lines DELETE WHERE position >= 500 SETTINGS mutations_sync = 1")
    lines.command("DELETE FROM lines WHERE position = 0")
    assert counted(lines) == (499, 499)
    assert lines.command("SELECT count() FROM lines WHERE memo = 'changed'") == 9


def test_tables_are_exchanged_renamed_and_lose_partitions(lines: Any) -> None:
    lines.command("CREATE TABLE next AS lines")
    lines.command("INSERT INTO lines (position) SELECT number FROM numbers(300000)")
    lines.command("INSERT INTO next (position) VALUES (1)")
    lines.command("EXCHANGE TABLES lines AND next")
    assert (counted(lines), counted(lines, "next")) == ((1, 1), (300_000, 300_000))
    lines.command("ALTER TABLE next DROP PARTITION 1")
    assert counted(lines, "next") == (200_000, 200_000)
    lines.command("RENAME TABLE next TO old")
    lines.command("TRUNCATE TABLE old")
    lines.command("DROP TABLE old SYNC")
    assert lines.query("SHOW TABLES").result_rows == [("lines",)]


def test_an_empty_insert_writes_nothing(lines: Any, raw: Any) -> None:
    assert lines.insert("lines", [], column_names=NAMES).written_rows == 0
    told = raw("INSERT INTO lines FORMAT JSONEachRow\n", database="test")
    assert (told.status, json.loads(told.headers["x-clickhouse-summary"])["written_rows"]) == (200, "0")
    assert counted(lines) == (0, 0)
