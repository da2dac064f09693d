"""What the system is measured against, each in a process of its own.

    python -m bench.peers '{"peer": "stock", "home": …, "database": …, "threads": 16, …}'

stock    `Application.save` of the eventsourcing library with its own Postgres recorder, from threads, with
         the library's default settings (a pool of 5 connections and 10 more)
single   plain Postgres: one row a statement and commit, one client
plain    plain Postgres: 500 rows a statement and commit, one client

The plain ones write rows of the shape of `erp.events` into a table with the same columns, indexes and checks,
with no function, no hashing, no numbering and no idempotency.
"""

import sys
import threading
import time
from array import array
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from uuid_utils.compat import uuid7

from bench import entries
from erp.embedded import address

ROWS_PER_STATEMENT: Final = 500
_TABLE: Final = """
    DROP TABLE IF EXISTS plain;
    CREATE TABLE plain (LIKE erp.events INCLUDING INDEXES INCLUDING CONSTRAINTS INCLUDING STORAGE)
"""
_COLUMNS: Final = (
    ("position", "int8"),
    ("tenant_seq", "int8"),
    ("version", "int8"),
    ("number", "int8"),
    ("recorded_at", "timestamptz"),
    ("event_id", "uuid"),
    ("tenant", "uuid"),
    ("stream_id", "uuid"),
    ("schema_version", "int4"),
    ("stream_type", "text"),
    ("type", "text"),
    ("series", "text"),
    ("encoding", "text"),
    ("data", "bytea"),
    ("metadata", "bytea"),
    ("leaf_hash", "bytea"),
)
_NAMES: Final = ", ".join(name for name, _ in _COLUMNS)


class Entry(Aggregate):
    """A journal entry as the library's tutorial would have it."""

    def __init__(  # noqa: PLR0917 - the library takes its event's fields from here
        self,
        journal: str,
        posting_date: str,
        currency: str,
        memo: str,
        reference: str,
        lines: list[dict[str, Any]],
        reverses: UUID | None,
        drafted_by: str,
    ) -> None:
        self.journal = journal
        self.posting_date = posting_date
        self.currency = currency
        self.memo = memo
        self.reference = reference
        self.lines = lines
        self.reverses = reverses
        self.drafted_by = drafted_by


def stock(home: Path, database: str, threads: int, warmup_s: float, seconds: float) -> dict[str, Any]:
    """Save new aggregates of one event from so many threads; each waits for its own commit."""
    application: Application[UUID] = Application(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": database,
            "POSTGRES_HOST": str(address.socket_dir(home)),
            "POSTGRES_PORT": str(address.PORT),
            "POSTGRES_USER": address.SUPERUSER,
            "POSTGRES_PASSWORD": "",
        }
    )
    began = time.perf_counter() + warmup_s
    ends = began + seconds
    latencies_s = [array("d") for _ in range(threads)]

    def save(mine: "array[float]") -> None:
        n = 0
        while (sent := time.perf_counter()) < ends:
            n += 1
            application.save(Entry(**entries.event_fields(n, Decimal)))
            now = time.perf_counter()
            if began <= now < ends:
                mine.append(now - sent)

    workers = [threading.Thread(target=save, args=(mine,)) for mine in latencies_s]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    application.close()
    return _summary([latency for mine in latencies_s for latency in mine], seconds)


def single(home: Path, database: str, warmup_s: float, seconds: float) -> dict[str, Any]:
    """Insert row after row, each with its own commit."""
    casts = ", ".join(f"%s::{kind}" for _, kind in _COLUMNS)
    insert = f"INSERT INTO plain ({_NAMES}) VALUES ({casts})"  # noqa: S608 - our own columns
    latencies_s = []
    with psycopg.connect(address.url(home, database=database), autocommit=True) as connection:
        connection.execute(_TABLE)
        began = time.perf_counter() + warmup_s
        ends = began + seconds
        for row in _rows():
            sent = time.perf_counter()
            if sent >= ends:
                break
            connection.execute(insert.encode(), row, prepare=True, binary=True)
            if sent >= began:
                latencies_s.append(time.perf_counter() - sent)
    return _summary(latencies_s, seconds)


def plain(home: Path, database: str, rows: int) -> dict[str, Any]:
    """Insert so many rows in statements of 500, which are made before the clock starts."""
    arrays = ", ".join(f"%s::{kind}[]" for _, kind in _COLUMNS)
    insert = f"INSERT INTO plain ({_NAMES}) SELECT * FROM unnest({arrays})"  # noqa: S608 - our own columns
    with psycopg.connect(address.url(home, database=database), autocommit=True) as connection:
        connection.execute(_TABLE)
        source = _rows()
        statements = [
            _as_text_arrays([next(source) for _ in range(ROWS_PER_STATEMENT)])
            for _ in range(rows // ROWS_PER_STATEMENT)
        ]
        began = time.perf_counter()
        for parameters in statements:
            connection.execute(insert.encode(), parameters, prepare=True)
        seconds = time.perf_counter() - began
    return {"rows": len(statements) * ROWS_PER_STATEMENT, "seconds": seconds, "per_s": rows / seconds}


def _rows() -> Iterator[tuple[Any, ...]]:
    tenant = uuid4()
    metadata = entries.event_metadata()
    n = 0
    while True:
        n += 1
        yield (
            *(n, n, 1, n, entries.instant(n)),
            *(uuid7(), tenant, uuid7()),
            *(1, "finance.journal_entry", "finance.journal_entry.posted", entries.SERIES, "json"),
            *(entries.event_data(n), metadata, bytes(32)),
        )


def _as_text_arrays(rows: list[tuple[Any, ...]]) -> list[str]:
    """The rows' columns as Postgres writes arrays, so that the driver has nothing left to do."""
    return ["{" + ",".join(_element(value) for value in column) + "}" for column in zip(*rows, strict=True)]


def _element(value: Any) -> str:
    return f'"\\\\x{value.hex()}"' if isinstance(value, bytes) else f'"{value}"'


def _summary(latencies_s: list[float], seconds: float) -> dict[str, Any]:
    ordered = sorted(latencies_s)
    count = len(ordered)
    return {
        "measured": count,
        "per_s": count / seconds,
        "p50_ms": 1000 * ordered[count // 2],
        "p95_ms": 1000 * ordered[int(count * 0.95)],
        "p99_ms": 1000 * ordered[int(count * 0.99)],
    }


def main() -> None:
    """Measure the peer that the one argument names."""
    asked = orjson.loads(sys.argv[1])
    peer = {"stock": stock, "single": single, "plain": plain}[asked.pop("peer")]
    told = peer(home=Path(asked.pop("home")), **asked)  # type: ignore[operator]
    print(orjson.dumps(told).decode())


if __name__ == "__main__":
    main()
