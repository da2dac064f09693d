"""Where a statement ends and its data begin, in text that comes in pieces of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erp.embedded.clickhouse.faults import Fault
from erp.embedded.clickhouse.statement import Kind, Statement, parse


def whole(text: bytes) -> Statement:
    found = parse(text, complete=True)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "sql", "form", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", b"INSERT INTO t ", "Native", b"\x01\x02"),
        (b"INSERT INTO t FORMAT CSV \t\r\n1\n", b"INSERT INTO t ", "CSV", b"1\n"),
        (b"INSERT INTO t FORMAT CSV\n\n1\n", b"INSERT INTO t ", "CSV", b"\n1\n"),
        (b"INSERT INTO t FORMAT JSONEachRow {}", b"INSERT INTO t ", "JSONEachRow", b"{}"),
        (b"insert into t (a, `values`) values (1)", b"insert into t (a, `values`) ", "Values", b" (1)"),
        (b"INSERT INTO db.values VALUES(1)", b"INSERT INTO db.values ", "Values", b"(1)"),
        (b"INSERT INTO format FORMAT CSV\n1", b"INSERT INTO format ", "CSV", b"1"),
        (b"INSERT INTO `a FORMAT b` FORMAT CSV\n1", b"INSERT INTO `a FORMAT b` ", "CSV", b"1"),
        (b"/* FORMAT x */ INSERT INTO t -- VALUES\n FORMAT CSV\n1", None, "CSV", b"1"),
        (b"INSERT INTO t SETTINGS async_insert=1, a='VALUES' FORMAT CSV\n1", None, "CSV", b"1"),
        (b"INSERT INTO FUNCTION null('a Int8') FORMAT CSV\n1", None, "CSV", b"1"),
        (b"INSERT INTO t FORMAT CSV", b"INSERT INTO t ", "CSV", b""),
    ],
)
def test_an_insert_with_data(text: bytes, sql: bytes | None, form: str, data: bytes) -> None:
    found = whole(text)
    assert (found.kind, found.format, text[found.data_at :]) == (Kind.INSERT, form, data)
    assert sql is None or found.sql == sql


@given(data=st.binary(max_size=50), at=st.integers(0, 60))
def test_it_is_found_alike_however_much_of_it_is_there(data: bytes, at: int) -> None:
    """A prefix says the same as the whole, or asks for more; it never says something else."""
    text = b"INSERT INTO `my t`.lines (a, b) FORMAT Native\n" + data
    whole_ = whole(text)
    assert text[whole_.data_at :] == data
    prefix = parse(text[:at], complete=False)
    if prefix is not None:
        assert (prefix.kind, prefix.sql, prefix.format) == (whole_.kind, whole_.sql, whole_.format)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_statement_or_a_refusal(text: bytes, complete: bool) -> None:
    try:
        found = parse(text, complete=complete)
    except Fault:
        return
    assert found is not None or not complete


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (a) SELECT 1 FORMAT Null",
        b"INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x;",
        b"WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        b"CREATE TABLE t (a Int8) ENGINE = Memory",
        b"OPTIMIZE TABLE t FINAL",
        b"INSERT",
    ],
)
def test_what_answers_with_nothing_goes_to_the_engine_as_it_is(text: bytes) -> None:
    found = whole(text)
    assert (found.kind, found.sql, found.writes, found.stateful) == (Kind.COMMAND, text, True, False)


@pytest.mark.parametrize(
    ("text", "sql", "form", "settings"),
    [
        (b"SELECT 1", b"SELECT 1", None, b""),
        (b"SELECT 1 -- all\n;; ", b"SELECT 1", None, b""),
        (b"SELECT 1 FORMAT JSON", b"SELECT 1", "JSON", b""),
        (b"SELECT a FROM t GROUP BY table\n FORMAT Native", b"SELECT a FROM t GROUP BY table", "Native", b""),
        (
            b"SELECT 1\nFORMAT Native SETTINGS a = 1, b = 'x';",
            b"SELECT 1",
            "Native",
            b"SETTINGS a = 1, b = 'x'",
        ),
        (b"SELECT 'FORMAT JSON'", b"SELECT 'FORMAT JSON'", None, b""),
        (b"SELECT (SELECT 1 FORMAT x)", b"SELECT (SELECT 1 FORMAT x)", None, b""),
        (b"SELECT format FROM t", b"SELECT format FROM t", None, b""),
        (b"SELECT * FROM format x", b"SELECT * FROM format x", None, b""),
        (b"(SELECT 1) UNION ALL (SELECT 2) FORMAT CSV", b"(SELECT 1) UNION ALL (SELECT 2)", "CSV", b""),
        (b"SHOW TABLES FORMAT TSV", b"SHOW TABLES", "TSV", b""),
        (b"SELECT $x$ ; FORMAT $x$ FORMAT CSV", b"SELECT $x$ ; FORMAT $x$", "CSV", b""),
    ],
)
def test_a_query_and_its_format(text: bytes, sql: bytes, form: str | None, settings: bytes) -> None:
    found = whole(text)
    assert (found.kind, found.sql, found.format, found.settings) == (Kind.READ, sql, form, settings)
    assert not found.writes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 62),
        (b" -- nothing\n", 62),
        (b"SELECT 1; SELECT 2", 62),
        (b"INSERT INTO t SELECT 1; DROP TABLE t", 62),
        (b"SELECT 1 INTO OUTFILE 'x'", 358),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", 78),
    ],
)
def test_what_is_refused(text: bytes, code: int) -> None:
    with pytest.raises(Fault) as refused:
        parse(text, complete=True)
    assert refused.value.code == code


@pytest.mark.parametrize("text", [b"SET a = 1", b"USE db", b"CREATE TEMPORARY TABLE t (a Int8)"])
def test_what_leaves_its_trace_on_the_connection(text: bytes) -> None:
    assert whole(text).stateful
