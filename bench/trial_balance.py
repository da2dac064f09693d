"""The trial balance as of a past day and as known at a past instant: by the API, and the same by Postgres.

Postgres gets a table of nothing but the same lines, vacuumed, with a covering index for this question. It may
scan the one or the other, whichever proves faster, and it is told the position that the instant stands for,
which the API has to find out. Question by question both are asked in turn, and must say the same.
"""

import http.client
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import orjson
import psycopg

from bench.children import ChildFailed
from bench.history import FIRST_DAY
from projections.finance.tables import BUCKET

_LINES: Final = """
    CREATE TABLE bench.lines AS
    SELECT e.tenant, l.account, d.currency, d.posting_date, e.position,
           coalesce(l.debit, 0)::numeric(38, 4) AS debit, coalesce(l.credit, 0)::numeric(38, 4) AS credit
      FROM erp.events e,
           LATERAL jsonb_to_record(convert_from(e.data, 'UTF8')::jsonb)
                AS d(currency text, posting_date date, lines jsonb),
           LATERAL jsonb_to_recordset(d.lines) AS l(account text, debit numeric, credit numeric)
     WHERE e.type = 'finance.journal_entry.posted'"""
_INDEX: Final = """
    CREATE INDEX ON bench.lines (tenant, posting_date, position) INCLUDE (account, currency, debit, credit)"""
_QUESTION: Final = """
    SELECT account, currency, sum(debit), sum(credit) FROM bench.lines
     WHERE tenant = %s AND posting_date <= %s AND position <= %s
     GROUP BY account, currency ORDER BY account, currency"""

# Its own choice, or the index and nothing else.
_WAYS: Final = ("SET enable_seqscan = on", "SET enable_seqscan = off")

Rows = list[tuple[str, str, Decimal, Decimal]]


class Question(NamedTuple):
    """A trial balance: of what was booked up to a day, as it was known when `position` was the last."""

    as_of: date
    known_at: datetime
    position: int


class DifferentAnswers(ChildFailed):
    """They do not say the same."""


def prepare(owner_url: str) -> dict[str, Any]:
    """Make the table of lines in Postgres; returns how many there are, and how long it took."""
    began = time.monotonic()
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute(_LINES)
        connection.execute(_INDEX)
        connection.execute("VACUUM (ANALYZE) bench.lines")
        connection.execute("CHECKPOINT")
        found = connection.execute(
            "SELECT count(*), pg_indexes_size('bench.lines') FROM bench.lines"
        ).fetchone()
    assert found is not None, "a row of aggregates"
    return {"lines": found[0], "index_bytes": found[1], "seconds": time.monotonic() - began}


def questions(owner_url: str, tenant: UUID, count: int) -> list[Question]:
    """Days of the second year, at positions of the last third, each about in the middle of a bucket of daily
    balances.
    """
    drawn = random.Random(1)
    asked = []
    with psycopg.connect(owner_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT min(position), max(position) FROM erp.events WHERE tenant = %s", [tenant]
        ).fetchone()
        assert found is not None, "a row of aggregates"
        first, last = found
        whole = last // BUCKET
        for _ in range(count):
            bucket = drawn.randint(min(whole, (first + 2 * last) // 3 // BUCKET + 1), whole)
            position = min(last, bucket * BUCKET - BUCKET // 2 + drawn.randint(-1000, 1000))
            row = connection.execute(
                "SELECT recorded_at FROM erp.events WHERE position = %s", [position]
            ).fetchone()
            assert row is not None, "positions are dense"
            asked.append(Question(FIRST_DAY + timedelta(days=drawn.randint(365, 700)), row[0], position))
    return asked


def compare(port: int, token: str, owner_url: str, tenant: UUID, asked: Sequence[Question]) -> dict[str, Any]:
    """How long each answer took, in ms: by the API, and by Postgres, whose plan is told too.

    Raises:
        DifferentAnswers: they do not agree.
    """
    ours_ms, postgres_ms = [], []
    with (
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as api,
        psycopg.connect(owner_url, autocommit=True) as postgres,
    ):
        _choose_the_faster_way(postgres, tenant, asked[0])
        _of_api(api, token, asked[0])
        for question in asked:
            began = time.perf_counter()
            answer = _of_api(api, token, question)
            then = time.perf_counter()
            expected = _of_postgres(postgres, tenant, question)
            ended = time.perf_counter()
            if answer != expected:
                raise DifferentAnswers(f"{question}: the API says {answer[:2]}…, Postgres {expected[:2]}…")
            ours_ms.append(1000 * (then - began))
            postgres_ms.append(1000 * (ended - then))
        plan = _plan(postgres, tenant, asked[0])
    return {
        "ms": ours_ms,
        "postgres_ms": postgres_ms,
        "median_ms": statistics.median(ours_ms),
        "postgres_median_ms": statistics.median(postgres_ms),
        "postgres_plan": plan,
    }


def _choose_the_faster_way(postgres: "psycopg.Connection[Any]", tenant: UUID, question: Question) -> None:
    took = []
    for way in (*_WAYS, *_WAYS):
        postgres.execute(way)
        began = time.perf_counter()
        _of_postgres(postgres, tenant, question)
        took.append((time.perf_counter() - began, way))
    postgres.execute(min(took)[1])


def _plan(postgres: "psycopg.Connection[Any]", tenant: UUID, question: Question) -> str:
    """The nodes of its plan, from the top."""
    explain = f"EXPLAIN (ANALYZE, COSTS OFF, FORMAT JSON) {_QUESTION}"
    row = postgres.execute(explain.encode(), [tenant, question.as_of, question.position]).fetchone()
    assert row is not None, "a plan"
    return " > ".join(_nodes(row[0][0]["Plan"]))


def _nodes(node: dict[str, Any]) -> list[str]:
    said = [node["Node Type"]]
    if node["Parallel Aware"]:
        said.insert(0, "Parallel")
    if "Partial Mode" in node and node["Partial Mode"] != "Simple":
        said.insert(0, node["Partial Mode"])
    if "Workers Launched" in node:
        said.append(f"({node['Workers Launched']} workers)")
    if "Heap Fetches" in node:
        said.append(f"({node['Heap Fetches']:.0f} heap fetches)")
    return [" ".join(said), *(each for child in node.get("Plans", []) for each in _nodes(child))]


def _of_api(api: http.client.HTTPConnection, token: str, question: Question) -> Rows:
    query = urlencode({"as_of": question.as_of.isoformat(), "known_at": question.known_at.isoformat()})
    api.request("GET", f"/v1/finance/trial-balance?{query}", headers={"Authorization": f"Bearer {token}"})
    answer = api.getresponse()
    body = answer.read()
    if answer.status != http.client.OK:
        raise ChildFailed(f"trial balance: {answer.status} {body[:500]!r}")
    told = orjson.loads(body)
    return [
        (row["account"], row["currency"], Decimal(row["debit"]), Decimal(row["credit"]))
        for row in told["rows"]
    ]


def _of_postgres(postgres: "psycopg.Connection[Any]", tenant: UUID, question: Question) -> Rows:
    found = postgres.execute(_QUESTION.encode(), [tenant, question.as_of, question.position])
    return [tuple(row) for row in found.fetchall()]
