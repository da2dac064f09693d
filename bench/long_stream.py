"""Loads an aggregate with a long history through the real store, with snapshots and without.

    python -m bench.long_stream '{"url": …, "owner_url": …, "tenant": …, "events": 10000, "loads": 15}'

The aggregate is a fiscal calendar of which a period is closed and reopened thousands of times. It ends just
before a snapshot is due, so that each load has the longest tail to apply that there can be. Each load is by
a store that has its connection and has seen nothing yet.
"""

import statistics
import sys
import time
from datetime import date
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import psycopg
import uvloop

from bench import entries
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from erp.contexts import aggregates
from eventstore.codec import Codec
from eventstore.store import EventStore, StoreOptions

SNAPSHOT_EVERY: Final = 100
_EVENTS_PER_REQUEST: Final = 20
_NEVER: Final = 2**31


async def measure(url: str, owner_url: str, tenant: UUID, events: int, loads: int) -> dict[str, Any]:
    """Write the history, then load it again and again."""
    target = events - events % SNAPSHOT_EVERY + SNAPSHOT_EVERY - 1
    await _write(url, tenant, target)
    with_snapshots = await _loads(url, tenant, target, loads, snapshot_every=SNAPSHOT_EVERY)
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("DELETE FROM erp.snapshots")
    without = await _loads(url, tenant, target, max(3, loads // 5), snapshot_every=_NEVER)
    return {
        "events": target,
        "tail_events": SNAPSHOT_EVERY - 1,
        "with_snapshots_ms": with_snapshots,
        "without_snapshots_ms": without,
        "median_ms": statistics.median(with_snapshots),
        "median_without_ms": statistics.median(without),
    }


def _store(url: str, snapshot_every: int) -> EventStore:
    return EventStore(url, Codec(aggregates()), StoreOptions(snapshot_every_events=snapshot_every))


async def _write(url: str, tenant: UUID, target: int) -> None:
    """Close and reopen the year's first period until the calendar is at version `target`."""
    stream, period = calendar_id(tenant), f"{entries.YEAR}-01"
    async with _store(url, SNAPSHOT_EVERY) as store:
        version = (await store.load(FiscalCalendar, stream, tenant)).version
        while version < target:
            calendar = (await store.load(FiscalCalendar, stream, tenant)).editable_copy()
            if not calendar.exists:
                calendar.open_year(entries.YEAR, date(entries.YEAR, 1, 1))
            while calendar.version < min(target, version + _EVENTS_PER_REQUEST):
                if calendar.periods[0].status == "open":
                    calendar.close_period(period)
                else:
                    calendar.reopen_period(period)
            receipt = await store.append(
                tenant=tenant,
                changed=[calendar],
                reads=[],
                idempotency_key=str(uuid4()),
                request_hash=bytes(32),
                answer={"id": str(stream), "version": calendar.version},
                metadata={"actor": entries.USER},
            )
            assert receipt.outcome == "appended"
            version = calendar.version


async def _loads(url: str, tenant: UUID, version: int, times: int, *, snapshot_every: int) -> list[float]:
    taken_ms = []
    for _ in range(times):
        async with _store(url, snapshot_every) as store:
            await store.ping()
            began = time.perf_counter()
            calendar = await store.load(FiscalCalendar, calendar_id(tenant), tenant)
            taken_ms.append(1000 * (time.perf_counter() - began))
        assert calendar.version == version
    return taken_ms


def main() -> None:
    """Measure as the one argument says."""
    asked = orjson.loads(sys.argv[1])
    told = uvloop.run(measure(**{**asked, "tenant": UUID(asked["tenant"])}))
    print(orjson.dumps(told).decode())


if __name__ == "__main__":
    main()
