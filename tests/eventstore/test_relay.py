"""The relay between a real Postgres and a real broker, while each of the three is killed.

On the embedded broker, and under `make test-kafka` on Apache Kafka.
"""

import asyncio
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Self
from uuid import uuid4

import psycopg
import pytest

from eventstore import merkle
from eventstore.checkpoint import CheckpointBeyondLog, PartitionsChanged
from eventstore.codec import Codec
from eventstore.packing import topic_of
from eventstore.publisher import TopicUnfit
from eventstore.relay import Relay
from eventstore.store import EventStore
from tests.eventstore.conftest import new_tenant
from tests.eventstore.relaying import append, checkpoint, last, new_relay, published, running
from tests.eventstore.requests import STREAM_TYPE, call, new_event, new_request
from tests.eventstore.stream import PARTITIONS, Watcher, assert_all_seen, expected, log_of
from tests.eventstore.tally import Tally
from tests.eventstore.writers import write_by_store
from tests.kafka.broker import Broker, embedded_broker
from tests.waiting import eventually

pytestmark = pytest.mark.integration

# Sooner than it would give up a broker that says nothing, which takes it ten seconds.
STOPS_WITHIN_S = 9


@pytest.fixture
def kafka_topics() -> dict[str, int]:
    return {topic_of("erp", name): PARTITIONS for name in (STREAM_TYPE, Tally.TOPIC)}


class Process:
    """A relay that can be killed, and is gone after the block."""

    def __init__(self, owner_url: str, kafka: Broker) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.eventstore.relaying", owner_url, kafka.bootstrap],
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    async def until_active(self) -> None:
        assert self._process.stdout is not None
        assert await asyncio.to_thread(self._process.stdout.readline) == b"active\n"

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        self.send(number)
        self._process.communicate(timeout=20)
        return self._process.returncode


def watch(kafka: Broker) -> Watcher:
    return Watcher(kafka.bootstrap, STREAM_TYPE, Tally.TOPIC)


def is_active(relay: Relay) -> bool:
    return relay.status.active


async def test_the_log_reaches_kafka_as_it_is(own_url: str, kafka: Broker) -> None:
    """Appended before and while the relay runs, with numbers and several streams a request."""
    tenant = new_tenant(own_url)
    append(own_url, tenant, streams=7, events=5)
    async with running(new_relay(own_url, kafka)) as relay, watch(kafka) as watcher:
        await write_by_store(own_url, tenant, 120)
        end = len(log_of(own_url))
        await watcher.until(end)
        await eventually(lambda: relay.status.position == end and relay.status.signed_size == end)
        assert relay.status.last_position <= end
        assert_all_seen(watcher, own_url)
        assert len(watcher.messages) < end
        (content_type,) = {dict(message.headers)["content-type"] for message in watcher.messages}
        assert content_type == b"application/cloudevents-batch+json; charset=UTF-8"
        assert {message.key for message in watcher.messages} == {None}
    assert checkpoint(own_url) == end


async def test_the_chain_of_positions_holds_across_restarts(own_url: str, kafka: Broker) -> None:
    tenant = new_tenant(own_url)
    end = 0
    for _ in range(4):
        async with running(new_relay(own_url, kafka)) as relay:
            end = append(own_url, tenant, streams=9, events=3)
            await published(relay, end)
    async with watch(kafka) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)
        assert sum(map(len, watcher.seen.values())) == end, "a clean stop repeats nothing"


async def test_it_stops_in_time_when_told_to_in_mid_work(own_url: str, kafka: Broker) -> None:
    end = append(own_url, new_tenant(own_url), streams=40, events=50)
    with Process(own_url, kafka) as process:
        await process.until_active()
        await eventually(lambda: checkpoint(own_url) > 0)
        began = time.monotonic()
        assert process.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < STOPS_WITHIN_S
    async with running(new_relay(own_url, kafka)), watch(kafka) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


async def test_of_two_one_is_active_and_the_other_takes_over(own_url: str, kafka: Broker) -> None:
    """By kill -9, and by hanging, which its database session notices."""
    tenant = new_tenant(own_url)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        with Process(own_url, kafka) as first:
            await first.until_active()
            async with running(new_relay(own_url, kafka)) as second:
                await asyncio.sleep(0.6)
                assert not is_active(second)
                first.send(number)
                began = time.monotonic()
                end = append(own_url, tenant, streams=5, events=4)
                await published(second, end)
                assert time.monotonic() - began < 5
                first.send(signal.SIGCONT)
                await asyncio.sleep(0.5)
                assert is_active(second)
                end = append(own_url, tenant, streams=5, events=4)
                await published(second, end)
    async with watch(kafka) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


@pytest.mark.timeout(180)
async def test_killed_again_and_again_under_load_it_loses_nothing(own_url: str, kafka: Broker) -> None:
    tenant = new_tenant(own_url)
    async with watch(kafka) as watcher:
        writing = asyncio.create_task(write_by_store(own_url, tenant, 1200))
        for pause_s in (0.05, 0.3, 0.15, 0.5):
            with Process(own_url, kafka) as process:
                await process.until_active()
                await asyncio.sleep(pause_s)
        await writing
        async with running(new_relay(own_url, kafka)) as relay:
            end = len(log_of(own_url))
            await watcher.until(end)
            await eventually(lambda: relay.status.signed_size == end)
        assert_all_seen(watcher, own_url)
    assert_tree_is_of_the_log(own_url)


def assert_tree_is_of_the_log(owner_url: str) -> None:
    with psycopg.connect(owner_url) as connection:
        hashes = connection.execute("SELECT leaf_hash FROM erp.events ORDER BY position").fetchall()
        leaves = [leaf for (leaf,) in hashes]
        heads = connection.execute("SELECT tree_size, root_hash FROM erp.tree_heads").fetchall()
    assert heads
    assert all(merkle.root(leaves[:size]) == root for size, root in heads)


async def test_a_broker_that_dies_is_waited_for(own_url: str, kafka: Broker) -> None:
    """All since its death is there afterwards; who appends notices nothing; the tree grows meanwhile."""
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, kafka)) as relay:
        before = append(own_url, tenant, streams=5, events=4)
        await published(relay, before)
        kafka.kill()
        began = time.monotonic()
        end = append(own_url, tenant, streams=30, events=4)
        assert time.monotonic() - began < 5
        await eventually(lambda: relay.status.signed_size == end)
        assert checkpoint(own_url) == before
        await asyncio.to_thread(kafka.start)
        await published(relay, end)
        async with watch(kafka) as watcher:
            await watcher.until(end, after=0 if kafka.keeps_data else before)
            assert_what_is_missing_can_be_seen(watcher, own_url)


async def test_what_a_broker_has_lost_can_be_seen(own_url: str, kafka: Broker) -> None:
    """A broker that is wiped under a running relay has all that is appended afterwards."""
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, kafka)) as relay:
        before = append(own_url, tenant, streams=5, events=4)
        await published(relay, before)
        await asyncio.to_thread(kafka.wipe)
        end = append(own_url, tenant, streams=30, events=4)
        await published(relay, end)
        async with watch(kafka) as watcher:
            await watcher.until(end, after=before)
            assert min(watcher.positions()) > before
            assert_what_is_missing_can_be_seen(watcher, own_url)


def assert_what_is_missing_can_be_seen(watcher: Watcher, owner_url: str) -> None:
    """Each event names the one before it, whether that is still there or not."""
    known = expected(log_of(owner_url))
    for to, events in watcher.without_repeats().items():
        assert {(each.event, each.previous) for each in events} <= set(known[to])


async def test_a_broker_that_comes_back_elsewhere_is_found(
    own_url: str, kafka_topics: dict[str, int]
) -> None:
    """Which only the embedded one does."""
    tenant = new_tenant(own_url)
    with embedded_broker(kafka_topics) as kafka:
        async with running(new_relay(own_url, kafka)) as relay:
            await eventually(lambda: relay.status.kafka_connected)
            kafka.kill()
            (kafka.server.home / "kafka.json").unlink()
            kafka.start()
            end = append(own_url, tenant, streams=3, events=4)
            await published(relay, end)


async def test_topics_that_the_embedded_broker_was_not_started_with_are_there(own_url: str) -> None:
    """It names no controller, so nobody can be asked to make them."""
    end = append(own_url, new_tenant(own_url), streams=3, events=4)
    with embedded_broker({}) as kafka:
        async with running(new_relay(own_url, kafka)) as relay, watch(kafka) as watcher:
            await published(relay, end)
            await watcher.until(end)
            assert_all_seen(watcher, own_url)


async def test_it_waits_for_a_broker_that_is_not_there_yet(own_url: str, kafka: Broker) -> None:
    end = append(own_url, new_tenant(own_url), streams=3, events=4)
    kafka.kill()
    async with running(new_relay(own_url, kafka)) as relay:
        await eventually(lambda: relay.status.kafka_failures > 1)
        await asyncio.to_thread(kafka.start)
        await published(relay, end)


async def test_it_stops_while_the_broker_is_gone(own_url: str, kafka: Broker) -> None:
    async with running(new_relay(own_url, kafka)) as relay:
        await eventually(lambda: relay.status.kafka_connected)
        kafka.kill()
        append(own_url, new_tenant(own_url), streams=3, events=4)
        await asyncio.sleep(0.3)
        began = time.monotonic()
    assert time.monotonic() - began < STOPS_WITHIN_S
    assert checkpoint(own_url) == 0


@pytest.mark.parametrize("size", [10, 3_500_000])
async def test_it_stops_while_the_broker_is_stuck(own_url: str, kafka: Broker, size: int) -> None:
    """Also with more on its way than the network takes."""
    tenant = new_tenant(own_url)
    with ExitStack() as stack:
        async with running(new_relay(own_url, kafka)) as relay:
            await published(relay, append(own_url, tenant, streams=3, events=4))
            stack.enter_context(kafka.stuck())
            append(
                own_url,
                tenant,
                streams=3,
                events=2,
                data=b'"%b"' % random.randbytes(size // 2).hex().encode(),
            )
            await asyncio.sleep(0.5)
            began = time.monotonic()
        assert time.monotonic() - began < STOPS_WITHIN_S


async def test_it_stops_while_it_waits_to_be_let_in(own_url: str, kafka: Broker) -> None:
    with kafka.stuck():
        async with running(new_relay(own_url, kafka)) as relay:
            await eventually(lambda: is_active(relay))
            await asyncio.sleep(0.5)
            began = time.monotonic()
        assert time.monotonic() - began < STOPS_WITHIN_S


async def test_a_lost_database_session_is_made_anew(own_url: str, kafka: Broker) -> None:
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, kafka)) as relay, watch(kafka) as watcher:
        await eventually(lambda: relay.status.active)
        for _ in range(3):
            with psycopg.connect(own_url, autocommit=True) as connection:
                connection.execute(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name LIKE 'erp relay%' AND datname = current_database()"""
                )
            end = append(own_url, tenant, streams=5, events=4)
            await published(relay, end)
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


async def test_a_checkpoint_beyond_the_log_is_refused(own_url: str, kafka: Broker) -> None:
    append(own_url, new_tenant(own_url), streams=1, events=3)
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("UPDATE erp.relay SET position = 4")
    with pytest.raises(CheckpointBeyondLog, match="4 events are published and the log has 3") as refused:
        await new_relay(own_url, kafka).run()
    assert "\n" not in str(refused.value)
    assert checkpoint(own_url) == 4


async def test_it_starts_over_when_it_is_told_to(own_url: str, kafka: Broker) -> None:
    end = append(own_url, new_tenant(own_url), streams=3, events=3)
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("UPDATE erp.relay SET position = 400, partitions = 7")
        connection.execute("INSERT INTO erp.relay_partitions VALUES ('erp.test.raw', 1, 300)")
    relay = new_relay(own_url, kafka)
    relay._from_start = True
    async with running(relay), watch(kafka) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


async def test_other_partitions_than_before_are_refused(own_url: str, kafka: Broker) -> None:
    end = append(own_url, new_tenant(own_url), streams=1, events=3)
    async with running(new_relay(own_url, kafka)) as relay:
        await published(relay, end)
    relay = new_relay(own_url, kafka)
    relay._packing = relay._packing._replace(partitions=5)
    with pytest.raises(PartitionsChanged, match="4 partitions a topic and ERP_KAFKA__PARTITIONS says 5"):
        await relay.run()


async def test_a_topic_with_too_few_partitions_is_refused(own_url: str, kafka: Broker) -> None:
    append(own_url, new_tenant(own_url), streams=1, events=3)
    relay = new_relay(own_url, kafka)
    relay._packing = relay._packing._replace(partitions=5)
    with pytest.raises(TopicUnfit, match=r"erp\.test\.raw has 4 partitions, and messages go to 5"):
        await asyncio.wait_for(relay.run(), 20)


async def test_large_events_go_alone_and_poison_goes_as_bytes(own_url: str, kafka: Broker) -> None:
    """Around the bound of a message, far beyond it, and bytes that only claim to be JSON."""
    tenant = new_tenant(own_url)
    with psycopg.connect(own_url, autocommit=True) as connection:
        for size in (10, 999_000, 1_000_000, 10, 3_500_000):
            data = b'"' + b"x" * size + b'"'
            call(connection, new_request(tenant, new_event(uuid4(), 1, data=data)))
        for data in (b"\xff\x00{", b"{}{}", b""):
            call(connection, new_request(tenant, new_event(uuid4(), 1, data=data)))
            poison = new_event(uuid4(), 1, data=data)._replace(encoding="bytes")
            call(connection, new_request(tenant, poison))
        call(connection, new_request(tenant, new_event(uuid4(), 1, data=b'"' + b"x" * 5_000_000 + b'"')))
        end = last(connection)
    async with running(new_relay(own_url, kafka)), watch(kafka) as watcher:
        await watcher.until(end)
        events = [each for events in watcher.seen.values() for each in events]
        sent = {each.event.position: each for each in events}
        assert [sent[event.position].event for event in log_of(own_url)[:-1]] == log_of(own_url)[:-1]
        assert not sent[end].is_whole
        assert sent[end].event == log_of(own_url)[-1]._replace(data=b"", metadata=b"")


async def test_a_slow_broker_bounds_what_is_under_way(own_url: str, kafka: Broker) -> None:
    """A broker that answers nobody: the relay holds a few pages and reads no further."""
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, kafka, page_events_max=10)) as relay:
        first = append(own_url, tenant, streams=1, events=1)
        await published(relay, first)
        with kafka.stuck():
            end = append(own_url, tenant, streams=20, events=20)
            await eventually(lambda: relay.status.events > first)
            await asyncio.sleep(1)
            assert relay.status.events <= first + 40
        await published(relay, end)


async def test_appending_goes_on_while_kafka_is_stuck(own_url: str, kafka: Broker) -> None:
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, kafka)) as relay, EventStore(own_url, Codec([Tally])):
        await eventually(lambda: relay.status.kafka_connected)
        with kafka.stuck():
            began = time.monotonic()
            await write_by_store(own_url, tenant, 60)
            assert time.monotonic() - began < 10
        end = len(log_of(own_url))
        await published(relay, end)
        await eventually(lambda: relay.status.lag_s == 0)
