"""Ingest alone: what comes in messages, good or bad, into a real ClickHouse that is killed meanwhile."""

import asyncio
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from erp.embedded.address import with_user
from erp.embedded.clickhouse import EmbeddedClickhouse, kept_up
from eventstore.cloudevents import LogEvent
from eventstore.packing import topic_of
from projections import log_copy
from projections.clickhouse import ClickHouse
from projections.ingest import Ingest
from tests.eventstore.requests import STREAM_TYPE
from tests.eventstore.stream import PARTITIONS
from tests.eventstore.tally import Tally
from tests.projections.logs import append, arrived, copied, logged, message
from tests.projections.world import CODEC
from tests.waiting import WAIT_S, eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPICS = {topic_of("erp", name): PARTITIONS for name in (STREAM_TYPE, Tally.TOPIC)}


def new_ingest(owner_url: str, clickhouse: ClickHouse, watermark: int = 0) -> Ingest:
    url = with_user(owner_url, "erp_worker")
    return Ingest(url, clickhouse, CODEC, watermark=lambda: watermark, written=lambda _: None)


async def test_what_is_taken_is_there_and_what_was_there_is_passed_over(
    own_url: str, tenant: UUID, clickhouse: ClickHouse
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 3)
    events = logged(own_url)
    ingest = new_ingest(own_url, clickhouse, watermark=2)
    assert await ingest.take([message(*events[:3]), message(*events[3:])])
    assert await copied(clickhouse) == [(each.event.position, each.leaf_hash) for each in events[2:]]
    assert await ingest.take([message(*events)])
    assert len(await copied(clickhouse)) == 4
    assert (ingest.messages, ingest.status.events, ingest.status.known) == (3, 8, 4)


@pytest.mark.parametrize("garbage", [None, b"", b"{}", b"\xff", b'[{"specversion": "1.0"}]'])
async def test_a_message_that_is_none_of_ours_is_passed_over(
    own_url: str, tenant: UUID, clickhouse: ClickHouse, garbage: bytes | None
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1)
    ingest = new_ingest(own_url, clickhouse)
    assert await ingest.take([garbage, message(*logged(own_url))])
    assert len(await copied(clickhouse)) == 2
    assert ingest.unreadable == 1


async def test_an_event_that_is_not_the_stores_is_left_out(
    own_url: str, tenant: UUID, clickhouse: ClickHouse
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1)
    first, second = logged(own_url)
    forged = LogEvent(second.event._replace(data=b'{"amount":"1"}'), second.leaf_hash)
    impossible = LogEvent(second.event._replace(position=1 << 80), second.leaf_hash)
    # A message without data says which event it means by the leaf hash.
    other = LogEvent(second.event, bytes(32))
    beyond = LogEvent(second.event._replace(position=99), second.leaf_hash)
    ingest = new_ingest(own_url, clickhouse)
    assert await ingest.take([message(first, forged, impossible), message(other, beyond, whole=False)])
    assert await copied(clickhouse) == [(1, first.leaf_hash)]
    assert ingest.status.dropped == 4


async def test_what_no_message_can_hold_is_read_from_the_store(
    own_url: str, tenant: UUID, clickhouse: ClickHouse
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1, data=b'{"text":"' + b"x" * 5_000_000 + b'"}')
    ingest = new_ingest(own_url, clickhouse)
    assert await ingest.take([message(*logged(own_url), whole=False)])
    assert ingest.status.fetched == 2
    assert await clickhouse.rows("SELECT length(data) FROM log ORDER BY position") == [(5_000_011,)] * 2
    await arrived(clickhouse, own_url)


async def test_an_event_that_cannot_be_written_holds_up_no_other(
    own_url: str, tenant: UUID, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_todays_shape(event_type: str, schema_version: int, data: bytes) -> tuple[int, bytes]:
        if data == b'{"bad":1}':
            raise KeyError("an upcaster's mistake")
        return schema_version, data

    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 2)
    append(own_url, tenant, 1, data=b'{"bad":1}')
    append(own_url, tenant, 2)
    monkeypatch.setattr(CODEC, "in_todays_shape", in_todays_shape)
    ingest = new_ingest(own_url, clickhouse)
    assert await ingest.take([message(*logged(own_url))])
    assert [position for position, _ in await copied(clickhouse)] == [1, 2, 3, 4, 7, 8, 9, 10]
    assert ingest.status.dropped == 2


async def test_it_waits_for_its_table(own_url: str, tenant: UUID, clickhouse: ClickHouse) -> None:
    append(own_url, tenant, 1)
    ingest = new_ingest(own_url, clickhouse)
    taking = asyncio.create_task(ingest.take([message(*logged(own_url))]))
    await asyncio.sleep(0.3)
    assert ingest.is_busy
    assert not taking.done()
    await log_copy.prepare(clickhouse)
    assert await asyncio.wait_for(taking, WAIT_S)
    await arrived(clickhouse, own_url)


async def test_told_to_stop_it_answers_for_nothing(own_url: str, tenant: UUID) -> None:
    append(own_url, tenant, 1)
    async with ClickHouse(lambda: "http://127.0.0.1:1/default") as nowhere:
        ingest = new_ingest(own_url, nowhere)
        taking = asyncio.create_task(ingest.take([message(*logged(own_url))]))
        await eventually(lambda: ingest.status.failures)
        assert not taking.done()
        ingest.stop()
        assert not await asyncio.wait_for(taking, WAIT_S)
        assert ingest.status.failures == 1


async def test_a_clickhouse_that_is_killed_in_mid_write_has_all_that_was_taken(
    own_url: str, tenant: UUID
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
            ingest = new_ingest(own_url, clickhouse)

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
