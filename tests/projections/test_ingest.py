"""Ingest alone: what comes in messages, good or bad, into a real ClickHouse that is killed meanwhile."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest

from erp.embedded.address import with_user
from erp.embedded.clickhouse import EmbeddedClickhouse, kept_up
from eventstore.cloudevents import LogEvent
from eventstore.leaf import leaf_hash
from eventstore.packing import topic_of
from projections import log_copy
from projections.clickhouse import ClickHouse
from projections.ingest import Ingest
from tests.eventstore.requests import STREAM_TYPE
from tests.eventstore.stream import PARTITIONS
from tests.eventstore.tally import Tally
from tests.projections.logs import append, arrived, copied, logged, message
from tests.projections.test_projector import restore
from tests.projections.world import CODEC, World
from tests.waiting import WAIT_S, eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPICS = {topic_of("erp", name): PARTITIONS for name in (STREAM_TYPE, Tally.TOPIC)}


NewIngest = Callable[..., Awaitable[Ingest]]


@pytest.fixture
async def new_ingest(own_url: str) -> AsyncIterator[NewIngest]:
    """Makes one that is entered."""
    async with AsyncExitStack() as stack:

        async def enter(clickhouse: ClickHouse, watermark: int = 0) -> Ingest:
            url = with_user(own_url, "erp_worker")
            made = Ingest(url, clickhouse, CODEC, watermark=lambda: watermark, written=lambda _: None)
            return await stack.enter_async_context(made)

        yield enter


async def test_what_is_taken_is_there_and_what_was_there_is_passed_over(
    own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 3)
    events = logged(own_url)
    ingest = await new_ingest(clickhouse, watermark=2)
    assert await ingest.take([message(*events[:3]), message(*events[3:])])
    assert await copied(clickhouse) == [(each.event.position, each.leaf_hash) for each in events[2:]]
    assert await ingest.take([message(*events)])
    assert len(await copied(clickhouse)) == 4
    assert (ingest.messages, ingest.status.events, ingest.status.known) == (3, 8, 4)


@pytest.mark.parametrize("garbage", [None, b"", b"{}", b"\xff", b'[{"specversion": "1.0"}]'])
async def test_a_message_that_is_none_of_ours_is_passed_over(
    own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse, garbage: bytes | None
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1)
    ingest = await new_ingest(clickhouse)
    assert await ingest.take([garbage, message(*logged(own_url))])
    assert len(await copied(clickhouse)) == 2
    assert ingest.unreadable == 1


async def test_an_event_that_is_not_the_stores_is_left_out(
    own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1)
    first, second = logged(own_url)
    forged = LogEvent(second.event._replace(data=b'{"amount":"1"}'), second.leaf_hash)
    impossible = LogEvent(second.event._replace(tenant_seq=1 << 80), second.leaf_hash)
    # A message without data says which event it means by the leaf hash.
    other = LogEvent(second.event, bytes(32))
    beyond = LogEvent(second.event._replace(position=99), second.leaf_hash)
    ingest = await new_ingest(clickhouse)
    assert await ingest.take([message(first, forged, impossible), message(other, beyond, whole=False)])
    assert await copied(clickhouse) == [(1, first.leaf_hash)]
    assert ingest.status.dropped == 4


async def test_an_event_that_the_store_never_had_takes_no_place(
    own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse
) -> None:
    """Kafka still has it of a Postgres that was restored to an earlier point: its leaf hash is its own."""
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1)
    first, second = logged(own_url)
    ingest = await new_ingest(clickhouse)
    assert await ingest.take([message(first, second)])
    others = [
        second.event._replace(data=b'{"amount":"1"}'),
        second.event._replace(position=3),
        second.event._replace(tenant_seq=-1),
        second.event._replace(version=-1),
        second.event._replace(schema_version=-1),
    ]
    assert await ingest.take([message(*[LogEvent(each, leaf_hash(each)) for each in others])])
    assert await copied(clickhouse) == [(1, first.leaf_hash), (2, second.leaf_hash)]
    assert ingest.status.dropped == len(others)


async def test_what_waits_for_clickhouse_is_held_against_the_store_once_more(
    read_side: World, new_ingest: NewIngest
) -> None:
    """Postgres may be restored to an earlier point meanwhile."""
    await read_side.add(1, 2)
    first, second = logged(read_side.owner_url)
    ingest = await new_ingest(read_side.clickhouse)
    taking = asyncio.create_task(ingest.take([message(first, second)]))
    await asyncio.sleep(0.3)
    restore(read_side, 1, read_side_at=None)
    await log_copy.prepare(read_side.clickhouse)
    assert await taking
    assert await copied(read_side.clickhouse) == [(1, first.leaf_hash)]
    assert ingest.status.dropped == 1


async def test_a_postgres_that_is_gone_is_waited_for(
    postgres_url: str, own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1)
    first, second = logged(own_url)
    ingest = await new_ingest(clickhouse)
    assert await ingest.take([message(first)])
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        database = urlsplit(own_url).path[1:]
        owner.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        taking = asyncio.create_task(ingest.take([message(second)]))
        await eventually(lambda: ingest.status.failures)
        assert not taking.done()
        owner.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        assert await taking
    await arrived(clickhouse, own_url)


async def test_what_no_message_can_hold_is_read_from_the_store(
    own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1, data=b'{"text":"' + b"x" * 5_000_000 + b'"}')
    ingest = await new_ingest(clickhouse)
    assert await ingest.take([message(*logged(own_url), whole=False)])
    assert ingest.status.fetched == 2
    assert await clickhouse.rows("SELECT length(data) FROM log ORDER BY position") == [(5_000_011,)] * 2
    await arrived(clickhouse, own_url)


async def test_an_event_that_cannot_be_written_holds_up_no_other(
    own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_todays_shape(event_type: str, schema_version: int, data: bytes) -> tuple[int, bytes]:
        if data == b'{"bad":1}':
            raise KeyError("an upcaster's mistake")
        if data == b'{"bad":2}':
            return -1, data  # which no column can hold
        return schema_version, data

    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 2)
    append(own_url, tenant, 1, data=b'{"bad":1}')
    append(own_url, tenant, 1)
    append(own_url, tenant, 1, data=b'{"bad":2}')
    monkeypatch.setattr(CODEC, "in_todays_shape", in_todays_shape)
    ingest = await new_ingest(clickhouse)
    assert await ingest.take([message(*logged(own_url))])
    assert [position for position, _ in await copied(clickhouse)] == [1, 2, 3, 4, 7, 8]
    assert ingest.status.dropped == 4


async def test_it_waits_for_its_table(
    own_url: str, tenant: UUID, new_ingest: NewIngest, clickhouse: ClickHouse
) -> None:
    append(own_url, tenant, 1)
    ingest = await new_ingest(clickhouse)
    taking = asyncio.create_task(ingest.take([message(*logged(own_url))]))
    await asyncio.sleep(0.3)
    assert ingest.is_busy
    assert not taking.done()
    await log_copy.prepare(clickhouse)
    assert await asyncio.wait_for(taking, WAIT_S)
    await arrived(clickhouse, own_url)


async def test_told_to_stop_it_answers_for_nothing(own_url: str, tenant: UUID, new_ingest: NewIngest) -> None:
    append(own_url, tenant, 1)
    async with ClickHouse(lambda: "http://127.0.0.1:1/default") as nowhere:
        ingest = await new_ingest(nowhere)
        taking = asyncio.create_task(ingest.take([message(*logged(own_url))]))
        await eventually(lambda: ingest.status.failures)
        assert not taking.done()
        ingest.stop()
        assert not await asyncio.wait_for(taking, WAIT_S)
        assert ingest.status.failures == 1


async def test_a_clickhouse_that_is_killed_in_mid_write_has_all_that_was_taken(
    own_url: str, tenant: UUID, new_ingest: NewIngest
) -> None:
    append(own_url, tenant, 200)
    events = logged(own_url)
    with (
        TemporaryDirectory(prefix="erp-test-") as folder,
        EmbeddedClickhouse(Path(folder) / ".erp") as server,
        kept_up(server, 0.1),
    ):
        async with ClickHouse(lambda: server.url) as clickhouse:
            await log_copy.prepare(clickhouse)
            ingest = await new_ingest(clickhouse)

            async def take_all() -> None:
                for first in range(0, len(events), 4):
                    assert await ingest.take([message(*events[first : first + 4])])

            taking = asyncio.create_task(take_all())
            while ingest.status.events < 100:
                await asyncio.sleep(0)
            pid = server.pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(taking, WAIT_S)
            await arrived(clickhouse, own_url)
            assert ingest.status.failures > 0
