"""Promise 2: dense positions in the order of commits; who has seen N has seen everything up to N."""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import pairwise
from threading import Event, Thread
from time import sleep
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import InvalidTransactionState

from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from tests.eventstore.conftest import new_tenant
from tests.eventstore.requests import call, one_event
from tests.eventstore.tally import Tally, append, blank
from tests.eventstore.writers import write_by_recorder, write_by_store

pytestmark = pytest.mark.integration

APPENDS = 480


class Row(NamedTuple):
    """What the reader sees of an event."""

    position: int
    tenant: UUID
    tenant_seq: int
    recorded_at: datetime
    event_id: UUID
    series: str | None
    number: int | None


class TailingReader(Thread):
    """Reads on after the last position it has seen, in short transactions, as the relay does."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._last_round = Event()
        self.seen: list[Row] = []
        self.pages = 0

    def run(self) -> None:
        """Read until told that nothing more comes, then once more."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            while True:
                is_last_round = self._last_round.is_set()
                if not self._read_on(connection) and is_last_round:
                    return

    def finish(self) -> list[Row]:
        """All that was seen, in the order in which it was seen."""
        self._last_round.set()
        self.join()
        return self.seen

    def _read_on(self, connection: "psycopg.Connection[tuple[object, ...]]") -> bool:
        after = self.seen[-1].position if self.seen else 0
        rows = connection.execute(
            """SELECT position, tenant, tenant_seq, recorded_at, event_id, series, number FROM erp.events
                WHERE position > %s ORDER BY position LIMIT 500""",
            [after],
        ).fetchall()
        self.seen.extend(Row(*row) for row in rows)  # type: ignore[arg-type]
        self.pages += bool(rows)
        if not rows:
            sleep(0.001)
        return bool(rows)


async def write_in_a_process(url: str, tenant: UUID) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.eventstore.writers", url, str(tenant), str(APPENDS)
    )
    assert await process.wait() == 0


async def test_eight_writers_and_a_tailing_reader(own_url: str) -> None:
    """Eight writers in three processes, by coroutines and threads; one reader at their heels.

    Nothing is missed, nothing comes twice, positions and tenants' sequences and numbers have no holes, and
    `recorded_at` grows with the position. Without the append lock writers collide; with positions from a
    sequence instead of the index the reader misses events.
    """
    app_url, reader_url = with_user(own_url, "erp_app"), with_user(own_url, "erp_reader")
    tenants = [new_tenant(own_url) for _ in range(3)]
    reader = TailingReader(reader_url)
    reader.start()
    try:
        await asyncio.gather(
            *(write_in_a_process(app_url, tenant) for tenant in tenants[:2]),
            *(write_by_store(app_url, tenant, APPENDS) for tenant in tenants),
            *(asyncio.to_thread(write_by_recorder, app_url, tenant, APPENDS) for tenant in tenants),
        )
    finally:
        seen = reader.finish()

    with psycopg.connect(own_url) as owner:
        log = owner.execute("SELECT position, event_id FROM erp.events ORDER BY position").fetchall()
    assert [(row.position, row.event_id) for row in seen] == log
    assert [row.position for row in seen] == list(range(1, len(seen) + 1))
    assert len(seen) >= 8 * 2 * APPENDS
    assert reader.pages > 50
    assert all(earlier.recorded_at < later.recorded_at for earlier, later in pairwise(seen))
    for tenant in tenants:
        of_tenant = [row for row in seen if row.tenant == tenant]
        assert [row.tenant_seq for row in of_tenant] == list(range(1, len(of_tenant) + 1))
        numbers = [row.number for row in of_tenant if row.series == "shared"]
        assert numbers == list(range(1, len(numbers) + 1)) != []


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_transactions_with_an_old_snapshot_are_refused(app_url: str, tenant: UUID, isolation: str) -> None:
    """Where the lock would not show what it waited for, there are neither appends nor answers."""
    with psycopg.connect(app_url) as application:
        for call_it in (
            lambda: call(application, one_event(tenant)),
            lambda: application.execute("SELECT erp.position_at(clock_timestamp())"),
        ):
            application.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
            with pytest.raises(InvalidTransactionState, match="read committed"):
                call_it()
            application.rollback()


async def test_store_does_not_depend_on_the_servers_default(own_url: str) -> None:
    """A server that is set to another isolation level by default is no reason to fail."""
    tenant = new_tenant(own_url)
    with psycopg.connect(own_url, autocommit=True) as owner:
        name = owner.info.dbname
        owner.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'".encode())
    app_url = with_user(own_url, "erp_app")
    async with EventStore(app_url, Codec([Tally])) as store:
        assert (await append(store, tenant, blank().add())).position == 1
        assert await store.position_at(datetime.now(UTC)) == 1
    write_by_recorder(app_url, tenant, 1)
