"""What happens when the connection breaks: at every moment a command is stored once or not at all, and
said so.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from time import monotonic
from uuid import UUID

import psycopg
import pytest

from domain.shared.errors import Unavailable
from eventstore.codec import Codec
from eventstore.store import EventStore, StoreOptions
from tests.eventstore.conftest import MakeTenant
from tests.eventstore.proxy import Proxy
from tests.eventstore.tally import Tally, append, blank

pytestmark = pytest.mark.integration

APPEND_LOCK = 4712820726
PATIENCE_S = 0.6
# What a loaded machine may add to a time limit.
SLACK_S = 4.0


@pytest.fixture
async def store(proxied_url: str) -> AsyncIterator[EventStore]:
    """A store behind the proxy, more patient than a loaded machine is slow."""
    options = StoreOptions(patience_s=30, call_timeout_s=5, pool_size_max=3)
    async with EventStore(proxied_url, Codec([Tally]), options) as opened:
        yield opened


@pytest.fixture
async def warm_store(store: EventStore, make_tenant: MakeTenant) -> EventStore:
    """The store, after a first append: its statements are prepared."""
    await append(store, make_tenant(), blank().add())
    return store


@pytest.fixture
async def impatient_store(proxied_url: str, tenant: UUID) -> AsyncIterator[EventStore]:
    """A store behind the proxy that soon gives up, warm too."""
    options = StoreOptions(patience_s=PATIENCE_S, call_timeout_s=5, pool_size_max=3)
    async with EventStore(proxied_url, Codec([Tally]), options) as opened:
        await append(opened, tenant, blank().add())
        yield opened


def versions_stored(url: str, *tallies: Tally) -> list[list[int]]:
    """The versions in the log, by stream."""
    with psycopg.connect(url) as reader:
        return [
            [
                row[0]
                for row in reader.execute(
                    "SELECT version FROM erp.events WHERE stream_id = %s ORDER BY version", [tally.id]
                ).fetchall()
            ]
            for tally in tallies
        ]


@contextmanager
def append_lock_held(owner_url: str) -> Iterator["psycopg.Connection[tuple[int]]"]:
    """Nobody gets past the start of an append, until the connection that is given lets go."""
    with psycopg.connect(owner_url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])
        yield holder


async def backend_that_waits(holder: psycopg.Connection[tuple[int]]) -> int:
    """The process of Postgres that waits for the append lock, once there is one."""
    while True:
        row = holder.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ).fetchone()
        if row is not None:
            return row[0]
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("times", [1, 3])
async def test_lost_answer_is_found_by_the_key(
    warm_store: EventStore, proxy: Proxy, reader_url: str, tenant: UUID, times: int
) -> None:
    """A connection cut between commit and answer: sent again, the request is answered, and stored once."""
    tally = blank().add().add()
    proxy.lose_answers(times)
    seen = proxy.appends_seen
    receipt = await append(warm_store, tenant, tally)
    # `replayed` is the truth: what the caller cannot see is that the first sending was his own.
    assert receipt.outcome in ("appended", "replayed")
    assert receipt.answer == {"id": str(tally.id), "version": 2}
    assert proxy.appends_seen == seen + times + 1
    assert versions_stored(reader_url, tally) == [[1, 2]]
    assert (await warm_store.load(Tally, tally.id, tenant)).total == 2


async def test_lost_answer_of_the_first_call_of_a_connection(
    store: EventStore, proxy: Proxy, reader_url: str, tenant: UUID
) -> None:
    """The same when the statement was not prepared yet."""
    tally = blank().add()
    proxy.lose_answers(1)
    assert (await append(store, tenant, tally)).position > 0
    assert versions_stored(reader_url, tally) == [[1]]


async def test_lost_answer_of_a_batch(
    warm_store: EventStore, proxy: Proxy, reader_url: str, tenant: UUID
) -> None:
    """A batch whose answer is lost is settled request by request: all stored once, in the places first
    given.
    """
    tallies = [blank().add() for _ in range(20)]
    proxy.lose_answers(2)
    receipts = await asyncio.gather(*(append(warm_store, tenant, tally) for tally in tallies))
    assert versions_stored(reader_url, *tallies) == [[1]] * 20
    with psycopg.connect(reader_url) as reader:
        rows = reader.execute(
            "SELECT stream_id, position FROM erp.events WHERE tenant = %s", [tenant]
        ).fetchall()
    stored: dict[UUID, int] = dict(rows)
    assert [receipt.position for receipt in receipts] == [stored[tally.id] for tally in tallies]


async def test_lost_answer_of_a_conflicting_batch(
    warm_store: EventStore, proxy: Proxy, reader_url: str, tenant: UUID
) -> None:
    """When a batch is sent again, who was stored does not turn into a conflict with himself."""
    first = blank()
    stale = first.editable_copy().add()
    await append(warm_store, tenant, first.editable_copy().add())
    good = [blank().add() for _ in range(3)]
    proxy.lose_answers(1)
    receipts = await asyncio.gather(
        *(append(warm_store, tenant, tally) for tally in (good[0], stale, *good[1:]))
    )
    assert receipts[1].outcome == "conflict"
    assert all(receipt.position > 0 for receipt in (receipts[0], *receipts[2:]))
    assert versions_stored(reader_url, *good, first) == [[1]] * 4


async def test_lost_request_is_sent_again(
    warm_store: EventStore, proxy: Proxy, reader_url: str, tenant: UUID
) -> None:
    """A connection cut before the request arrives: sent again, it is stored, once."""
    tally = blank().add()
    proxy.lose_requests(2)
    assert (await append(warm_store, tenant, tally)).outcome == "appended"
    assert versions_stored(reader_url, tally) == [[1]]


async def test_terminated_backend(
    warm_store: EventStore, postgres_url: str, tenant: UUID, reader_url: str
) -> None:
    """Postgres ends the process in the middle of an append: it is sent again, and stored once."""
    tally = blank().add()
    with append_lock_held(postgres_url) as holder:
        appending = asyncio.create_task(append(warm_store, tenant, tally))
        pid = await backend_that_waits(holder)
        holder.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert await backend_that_waits(holder) != pid
        assert not appending.done()
    assert (await appending).outcome == "appended"
    assert versions_stored(reader_url, tally) == [[1]]


async def test_call_that_takes_too_long(
    proxied_url: str, postgres_url: str, tenant: UUID, reader_url: str
) -> None:
    """A call without an answer is given up and the request fails as unavailable; asked again, it is
    stored once.
    """
    tally = blank().add()
    options = StoreOptions(patience_s=0.2, call_timeout_s=0.3)
    async with EventStore(proxied_url, Codec([Tally]), options) as store:
        started = monotonic()
        with append_lock_held(postgres_url), pytest.raises(Unavailable):
            await append(store, tenant, tally, key="k")
        assert monotonic() - started < 0.6 + SLACK_S
        assert (await append(store, tenant, tally, key="k")).outcome in ("appended", "replayed")
    assert versions_stored(reader_url, tally) == [[1]]


async def test_read_that_takes_too_long(app_url: str, postgres_url: str, tenant: UUID) -> None:
    """A read without an answer is given up in time too, and the store goes on afterwards."""
    async with EventStore(app_url, Codec([Tally]), StoreOptions(call_timeout_s=0.3)) as store:
        with psycopg.connect(postgres_url) as blocker:
            blocker.execute("LOCK TABLE erp.events IN ACCESS EXCLUSIVE MODE")
            started = monotonic()
            with pytest.raises(Unavailable):
                await store.load(Tally, tenant, tenant)
            assert monotonic() - started < 0.3 + SLACK_S
            blocker.rollback()
        assert not (await store.load(Tally, tenant, tenant)).exists


async def test_database_down_and_up_again(
    impatient_store: EventStore, proxy: Proxy, reader_url: str, tenant: UUID
) -> None:
    """While the database is away everything fails as unavailable, in time; when it is back the store
    works again.
    """
    tally = blank().add()
    await append(impatient_store, tenant, tally)
    await proxy.down()
    for question in (
        impatient_store.load_current(Tally, tally.id, tenant),
        impatient_store.find(tenant, "key", b""),
        append(impatient_store, tenant, blank().add()),
        impatient_store.ping(),
    ):
        started = monotonic()
        with pytest.raises(Unavailable):
            await question
        assert monotonic() - started < PATIENCE_S + SLACK_S
    await proxy.up()
    again = blank().add()
    assert (await append(impatient_store, tenant, again)).outcome == "appended"
    assert (await impatient_store.load_current(Tally, tally.id, tenant)).version == 1
    assert versions_stored(reader_url, tally, again) == [[1], [1]]


async def test_short_outage_is_sat_out(warm_store: EventStore, proxy: Proxy, tenant: UUID) -> None:
    """Who appends does not notice an outage shorter than the patience."""
    await proxy.down()
    appending = asyncio.create_task(append(warm_store, tenant, blank().add()))
    await asyncio.sleep(0.2)
    await proxy.up()
    assert (await appending).outcome == "appended"


async def test_patience_counts_from_arrival(impatient_store: EventStore, proxy: Proxy, tenant: UUID) -> None:
    """Requests that must wait for one another do not add up their patience while the database is away."""
    tally = blank()
    await proxy.down()
    started = monotonic()
    waiting = [append(impatient_store, tenant, tally.editable_copy().add()) for _ in range(12)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert monotonic() - started < 2 * PATIENCE_S + SLACK_S


async def test_pool_full_of_dead_connections(warm_store: EventStore, postgres_url: str, tenant: UUID) -> None:
    """After a restart of the database no reader meets a connection that died in the pool."""
    tally = blank().add()
    await append(warm_store, tenant, tally)
    await asyncio.gather(*(warm_store.load_current(Tally, tally.id, tenant) for _ in range(20)))
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'erp'"
        )
    loaded = await asyncio.gather(*(warm_store.load_current(Tally, tally.id, tenant) for _ in range(20)))
    assert {aggregate.version for aggregate in loaded} == {1}
    assert (await append(warm_store, tenant, loaded[0].editable_copy().add())).outcome == "appended"
