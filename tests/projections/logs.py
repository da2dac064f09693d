"""A log with something in it, and what of it has arrived in the log copy."""

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.cloudevents import LogEvent, batch, event_json
from eventstore.leaf import leaf_hash
from projections.clickhouse import ClickHouse, StatementFailed
from tests.eventstore.requests import call, new_event, new_request
from tests.eventstore.stream import log_of
from tests.waiting import WAIT_S


def append(owner_url: str, tenant: UUID, streams: int, data: bytes = b"{}") -> int:
    """Two events on each of so many streams; the last position of the log."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for stream in [uuid4() for _ in range(streams)]:
            call(
                connection,
                new_request(tenant, *(new_event(stream, version, data=data) for version in (1, 2))),
            )
        row = connection.execute("SELECT max(position) FROM erp.events").fetchone()
    assert row is not None
    return int(row[0])


def logged(owner_url: str) -> list[LogEvent]:
    return [LogEvent(event, leaf_hash(event)) for event in log_of(owner_url)]


def message(*events: LogEvent, whole: bool = True) -> bytes:
    return batch(event_json(each, 0, whole=whole) for each in events)


async def copied(clickhouse: ClickHouse) -> list[tuple[int, bytes]]:
    """Position and leaf hash of what is in the log copy, each position once."""
    try:
        return [
            (position, leaf)
            for position, leaf in await clickhouse.rows(
                "SELECT position, leaf_hash FROM log FINAL ORDER BY position"
            )
        ]
    except StatementFailed:
        return []


async def arrived(clickhouse: ClickHouse, owner_url: str, wait_s: float = WAIT_S) -> None:
    """Wait until the log copy is the log, each event with its leaf hash."""
    expected = [(each.event.position, each.leaf_hash) for each in logged(owner_url)]
    found: list[tuple[int, bytes]] = []
    try:
        async with asyncio.timeout(wait_s):
            while (found := await copied(clickhouse)) != expected:
                await asyncio.sleep(0.05)
    except TimeoutError:
        missing = {position for position, _ in expected} - {position for position, _ in found}
        pytest.fail(f"{len(missing)} of {len(expected)} are missing: {sorted(missing)[:20]}")
