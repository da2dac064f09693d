"""Every type goes in and comes out as it was, in both orientations and by each kind of block."""

import datetime as dt
import ipaddress
import uuid
from decimal import Decimal
from typing import Any

import pytest

pytestmark = pytest.mark.integration

UTC = dt.UTC
NOON = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ID = uuid.UUID("0191d3a0-0000-7000-8000-00000000002a")

VALUES: dict[str, list[Any]] = {
    "Bool": [True, False],
    "Int8": [-128, 127],
    "Int16": [-32768, 32767],
    "Int32": [-(2**31), 2**31 - 1],
    "Int64": [-(2**63), 2**63 - 1],
    "Int128": [-(2**127), 2**127 - 1],
    "Int256": [-(2**255), 2**255 - 1],
    "UInt8": [0, 255],
    "UInt64": [0, 2**64 - 1],
    "UInt128": [0, 2**128 - 1],
    "UInt256": [0, 2**256 - 1],
    "Float32": [0.5, -1.25],
    "Float64": [0.1, -1e300],
    "Decimal(9, 2)": [Decimal("-1234567.89"), Decimal("0.01")],
    "Decimal(18, 4)": [Decimal("99999999999999.9999"), Decimal("-0.0001")],
    "Decimal(38, 4)": [Decimal("9999999999999999999999999999999999.9999"), Decimal("-0.0001")],
    "Decimal(76, 10)": [Decimal("1.0000000001"), Decimal(-1)],
    "String": ["", "Ærøskøbing 借方 \N{PARTY POPPER} \x00 ' \\ \n\t"],
    "FixedString(3)": [b"abc", b"x\x00\x00"],
    "UUID": [ID, uuid.UUID(int=0)],
    "Date": [dt.date(1970, 1, 1), dt.date(2149, 6, 6)],
    "Date32": [dt.date(1900, 1, 1), dt.date(2299, 12, 31)],
    "DateTime('UTC')": [NOON, dt.datetime(1970, 1, 1, tzinfo=UTC)],
    "DateTime64(3, 'UTC')": [NOON.replace(microsecond=123000), NOON],
    "DateTime64(6, 'UTC')": [NOON.replace(microsecond=123456), NOON],
    "DateTime64(6, 'Europe/Vienna')": [NOON.replace(microsecond=1), NOON],
    "Enum8('debit' = 1, 'credit' = 2)": ["debit", "credit"],
    "IPv4": [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("255.255.255.255")],
    "IPv6": [ipaddress.ip_address("::1"), ipaddress.ip_address("2001:db8::8a2e:370:7334")],
    "LowCardinality(String)": ["finance.account", "finance.journal_entry"],
    "LowCardinality(Nullable(String))": [None, "EUR"],
    "Nullable(Int64)": [None, -1],
    "Nullable(Decimal(38, 4))": [None, Decimal("1.5000")],
    "Nullable(UUID)": [None, ID],
    "Array(UInt32)": [[], [1, 2, 3]],
    "Array(Array(String))": [[[]], [["a"], ["b", "c"]]],
    "Array(Nullable(Decimal(38, 4)))": [[None], [Decimal("1.0000"), None]],
    "Map(String, String)": [{}, {"cost_centre": "4711"}],
    "Map(LowCardinality(String), Array(UInt8))": [{"a": [1]}, {}],
    "Tuple(String, Int32)": [("a", 1), ("", -1)],
    "Array(Tuple(account String, amount Decimal(38, 4)))": [
        [{"account": "1122", "amount": Decimal("1.0000")}],
        [],
    ],
    "JSON": [{"a": {"b": 1}, "c": ["x", "y"]}, {}],
    "Variant(Int64, String)": [7, "seven"],
    "Dynamic": ["text", "more"],
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("oriented", ["rows", "columns"])
def test_a_value_comes_back_as_it_went_in(client: Any, kind: str, oriented: str) -> None:
    values = VALUES[kind]
    client.command(f"CREATE TABLE t (n UInt8, v {kind}) ENGINE = MergeTree ORDER BY n")
    if oriented == "rows":
        client.insert("t", [[n, value] for n, value in enumerate(values)], column_names=["n", "v"])
    else:
        client.insert("t", [[0, 1], values], column_names=["n", "v"], column_oriented=True)
    found = client.query("SELECT v FROM t ORDER BY n")
    assert [row[0] for row in found.result_rows] == values
    assert found.column_types[0].name.startswith(kind.split("(", maxsplit=1)[0])


def test_a_table_of_every_type_at_once(client: Any) -> None:
    kinds = [kind for kind in VALUES if kind not in {"Dynamic", "Variant(Int64, String)"}]
    columns = ", ".join(f"c{index} {kind}" for index, kind in enumerate(kinds))
    client.command(f"CREATE TABLE t ({columns}) ENGINE = MergeTree ORDER BY c1")
    rows = [[VALUES[kind][row] for kind in kinds] for row in (0, 1)]
    client.insert("t", rows, column_names=[f"c{index}" for index in range(len(kinds))])
    assert sorted(client.query("SELECT * FROM t").result_rows, key=repr) == sorted(map(tuple, rows), key=repr)


def test_money_sums_without_a_cent_of_error(client: Any) -> None:
    client.command("CREATE TABLE t (amount Decimal(38, 4)) ENGINE = MergeTree ORDER BY amount")
    amounts = [Decimal(n) / 10000 for n in range(-5000, 5001)] + [Decimal("12345678901234567890.8901")]
    client.insert("t", [amounts], column_names=["amount"], column_oriented=True)
    assert client.query("SELECT sum(amount) FROM t").first_row[0] == sum(amounts)
