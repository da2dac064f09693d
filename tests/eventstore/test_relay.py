"""The relay between a real Postgres and a real broker, while each of the three is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import psycopg
import pytest

from erp.embedded.kafka import EmbeddedKafka
from eventstore import merkle
from eventstore.checkpoint import CheckpointBeyondLog, PartitionsChanged
from eventstore.codec import Codec
from eventstore.packing import topic_of
from eventstore.publisher import TopicUnfit
from eventstore.relay import Relay
from eventstore.store import EventStore
from tests.eventstore.conftest import new_tenant
from tests.eventstore.relaying import new_relay
from tests.eventstore.requests import STREAM_TYPE, call, new_event, new_request
from tests.eventstore.stream import PARTITIONS, Watcher, assert_all_seen, expected, log_of
from tests.eventstore.tally import Tally
from tests.eventstore.writers import write_by_store

pytestmark = pytest.mark.integration

TOPICS = {topic_of("erp", name): PARTITIONS for name in (STREAM_TYPE, Tally.TOPIC)}


@pytest.fixture
def broker() -> Iterator[EmbeddedKafka]:
    """A broker with nothing in it."""
    with TemporaryDirectory(prefix="erp-kafka-") as folder, EmbeddedKafka(Path(folder), TOPICS) as running:
        yield running


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    """The relay, until the block ends; what it raises is raised."""
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await asyncio.wait_for(task, 20)


class Process:
    """A relay that can be killed."""

    def __init__(self, owner_url: str, broker: EmbeddedKafka) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.eventstore.relaying", owner_url, str(broker.home)],
            stdout=subprocess.PIPE,
        )

    async def until_active(self) -> None:
        assert self._process.stdout is not None
        assert await asyncio.to_thread(self._process.stdout.readline) == b"active\n"

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        self.send(number)
        self._process.communicate(timeout=20)
        return self._process.returncode


def watch(broker: EmbeddedKafka) -> Watcher:
    return Watcher(broker.bootstrap, STREAM_TYPE, Tally.TOPIC)


def append(owner_url: str, tenant: UUID, streams: int, events: int, data: bytes = b"{}") -> int:
    """So many events on each of so many streams; the last position of the log."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for stream in [uuid4() for _ in range(streams)]:
            made = [new_event(stream, version, data=data) for version in range(1, events + 1)]
            call(connection, new_request(tenant, *made))
        return last(connection)


def last(connection: "psycopg.Connection[tuple[int]]") -> int:
    row = connection.execute("SELECT coalesce(max(position), 0) FROM erp.events").fetchone()
    assert row is not None
    return row[0]


def checkpoint(owner_url: str) -> int:
    with psycopg.connect(owner_url) as connection:
        row = connection.execute("SELECT position FROM erp.relay").fetchone()
    assert row is not None
    return int(row[0])


def is_active(relay: Relay) -> bool:
    return relay.status.active


async def until(reached: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not reached():
            await asyncio.sleep(0.02)


async def published(relay: Relay, position: int) -> None:
    """Wait until everything up to it is in Kafka, as the relay says."""
    await until(lambda: relay.status.position == position)


async def test_the_log_reaches_kafka_as_it_is(own_url: str, broker: EmbeddedKafka) -> None:
    """Appended before and while the relay runs, with numbers and several streams a request."""
    tenant = new_tenant(own_url)
    append(own_url, tenant, streams=7, events=5)
    async with running(new_relay(own_url, broker)) as relay, watch(broker) as watcher:
        await write_by_store(own_url, tenant, 120)
        end = len(log_of(own_url))
        await watcher.until(end)
        await until(lambda: relay.status.position == end and relay.status.signed_size == end)
        assert relay.status.last_position <= end
        assert_all_seen(watcher, own_url)
        assert len(watcher.messages) < end
        (content_type,) = {dict(message.headers)["content-type"] for message in watcher.messages}
        assert content_type == b"application/cloudevents-batch+json; charset=UTF-8"
        assert {message.key for message in watcher.messages} == {None}
    assert checkpoint(own_url) == end


async def test_the_chain_of_positions_holds_across_restarts(own_url: str, broker: EmbeddedKafka) -> None:
    tenant = new_tenant(own_url)
    end = 0
    for _ in range(4):
        async with running(new_relay(own_url, broker)) as relay:
            end = append(own_url, tenant, streams=9, events=3)
            await published(relay, end)
    async with watch(broker) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)
        assert sum(map(len, watcher.seen.values())) == end, "a clean stop repeats nothing"


async def test_it_stops_in_time_when_told_to_in_mid_work(own_url: str, broker: EmbeddedKafka) -> None:
    end = append(own_url, new_tenant(own_url), streams=40, events=50)
    process = Process(own_url, broker)
    await process.until_active()
    await until(lambda: checkpoint(own_url) > 0)
    began = time.monotonic()
    assert process.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 4
    async with running(new_relay(own_url, broker)), watch(broker) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


async def test_of_two_one_is_active_and_the_other_takes_over(own_url: str, broker: EmbeddedKafka) -> None:
    """By kill -9, and by hanging, which its database session notices."""
    tenant = new_tenant(own_url)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        first = Process(own_url, broker)
        await first.until_active()
        async with running(new_relay(own_url, broker)) as second:
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
        first.end()
    async with watch(broker) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


@pytest.mark.timeout(180)
async def test_killed_again_and_again_under_load_it_loses_nothing(
    own_url: str, broker: EmbeddedKafka
) -> None:
    tenant = new_tenant(own_url)
    async with watch(broker) as watcher:
        writing = asyncio.create_task(write_by_store(own_url, tenant, 1200))
        for pause_s in (0.05, 0.3, 0.15, 0.5):
            process = Process(own_url, broker)
            await process.until_active()
            await asyncio.sleep(pause_s)
            process.end()
        await writing
        async with running(new_relay(own_url, broker)) as relay:
            end = len(log_of(own_url))
            await watcher.until(end)
            await until(lambda: relay.status.signed_size == end)
        assert_all_seen(watcher, own_url)
    assert_tree_is_of_the_log(own_url)


def assert_tree_is_of_the_log(owner_url: str) -> None:
    with psycopg.connect(owner_url) as connection:
        hashes = connection.execute("SELECT leaf_hash FROM erp.events ORDER BY position").fetchall()
        leaves = [leaf for (leaf,) in hashes]
        heads = connection.execute("SELECT tree_size, root_hash FROM erp.tree_heads").fetchall()
    assert heads
    assert all(merkle.root(leaves[:size]) == root for size, root in heads)


async def test_a_broker_that_dies_and_comes_back_empty_is_waited_for(
    own_url: str, broker: EmbeddedKafka
) -> None:
    """All since its death is there afterwards; who appends notices nothing; the tree grows meanwhile."""
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, broker)) as relay:
        before = append(own_url, tenant, streams=5, events=4)
        await published(relay, before)
        pid = broker.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not broker.is_alive())
        began = time.monotonic()
        end = append(own_url, tenant, streams=30, events=4)
        assert time.monotonic() - began < 5
        await until(lambda: relay.status.signed_size == end)
        assert checkpoint(own_url) == before
        broker.ensure_running()
        await published(relay, end)
        async with watch(broker) as watcher:
            while watcher.positions() < set(range(before + 1, end + 1)):
                await watcher.read()
            firsts = {to: events[0] for to, events in watcher.without_repeats().items()}
        known = expected(log_of(own_url))
        for to, first in firsts.items():  # a consumer sees what it has missed
            missed = [event.position for event, _ in known[to] if event.position <= before]
            assert first.previous == max(missed, default=0)


async def test_a_broker_that_comes_back_elsewhere_is_found(own_url: str, broker: EmbeddedKafka) -> None:
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, broker)) as relay:
        await until(lambda: relay.status.kafka_connected)
        pid = broker.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not broker.is_alive())
        (broker.home / "kafka.json").unlink()
        broker.ensure_running()
        end = append(own_url, tenant, streams=3, events=4)
        await published(relay, end)


async def test_it_waits_for_a_broker_that_is_not_there_yet(own_url: str, broker: EmbeddedKafka) -> None:
    end = append(own_url, new_tenant(own_url), streams=3, events=4)
    pid = broker.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not broker.is_alive())
    async with running(new_relay(own_url, broker)) as relay:
        await until(lambda: relay.status.kafka_failures > 1)
        broker.ensure_running()
        await published(relay, end)


async def test_it_stops_while_the_broker_is_gone(own_url: str, broker: EmbeddedKafka) -> None:
    async with running(new_relay(own_url, broker)) as relay:
        await until(lambda: relay.status.kafka_connected)
        pid = broker.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        append(own_url, new_tenant(own_url), streams=3, events=4)
        await asyncio.sleep(0.3)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert checkpoint(own_url) == 0


async def test_it_stops_while_the_broker_is_stuck(own_url: str, broker: EmbeddedKafka) -> None:
    pid = broker.pid()
    assert pid is not None
    async with running(new_relay(own_url, broker)) as relay:
        tenant = new_tenant(own_url)
        await published(relay, append(own_url, tenant, streams=3, events=4))
        os.kill(pid, signal.SIGSTOP)
        append(own_url, tenant, streams=3, events=4)
        await asyncio.sleep(0.3)
        began = time.monotonic()
    os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - began < 6


async def test_a_lost_database_session_is_made_anew(own_url: str, broker: EmbeddedKafka) -> None:
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, broker)) as relay, watch(broker) as watcher:
        await until(lambda: relay.status.active)
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


async def test_a_checkpoint_beyond_the_log_is_refused(own_url: str, broker: EmbeddedKafka) -> None:
    append(own_url, new_tenant(own_url), streams=1, events=3)
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("UPDATE erp.relay SET position = 4")
    with pytest.raises(CheckpointBeyondLog, match="4 events are published and the log has 3") as refused:
        await new_relay(own_url, broker).run()
    assert "\n" not in str(refused.value)
    assert checkpoint(own_url) == 4


async def test_it_starts_over_when_it_is_told_to(own_url: str, broker: EmbeddedKafka) -> None:
    end = append(own_url, new_tenant(own_url), streams=3, events=3)
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("UPDATE erp.relay SET position = 400, partitions = 7")
        connection.execute("INSERT INTO erp.relay_partitions VALUES ('erp.test.raw', 1, 300)")
    relay = new_relay(own_url, broker)
    relay._from_start = True
    async with running(relay), watch(broker) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


async def test_other_partitions_than_before_are_refused(own_url: str, broker: EmbeddedKafka) -> None:
    end = append(own_url, new_tenant(own_url), streams=1, events=3)
    async with running(new_relay(own_url, broker)) as relay:
        await published(relay, end)
    relay = new_relay(own_url, broker)
    relay._packing = relay._packing._replace(partitions=5)
    with pytest.raises(PartitionsChanged, match="4 partitions a topic and ERP_KAFKA__PARTITIONS says 5"):
        await relay.run()


async def test_a_topic_with_too_few_partitions_is_refused(own_url: str, broker: EmbeddedKafka) -> None:
    append(own_url, new_tenant(own_url), streams=1, events=3)
    relay = new_relay(own_url, broker)
    relay._packing = relay._packing._replace(partitions=5)
    with pytest.raises(TopicUnfit, match=r"erp\.test\.raw has 4 partitions, and messages go to 5"):
        await asyncio.wait_for(relay.run(), 20)


async def test_large_events_go_alone_and_poison_goes_as_bytes(own_url: str, broker: EmbeddedKafka) -> None:
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
    async with running(new_relay(own_url, broker)), watch(broker) as watcher:
        await watcher.until(end)
        events = [each for events in watcher.seen.values() for each in events]
        sent = {each.event.position: each for each in events}
        assert [sent[event.position].event for event in log_of(own_url)[:-1]] == log_of(own_url)[:-1]
        assert not sent[end].is_whole
        assert sent[end].event == log_of(own_url)[-1]._replace(data=b"", metadata=b"")


async def test_a_slow_broker_bounds_what_is_under_way(own_url: str, broker: EmbeddedKafka) -> None:
    """A broker that answers nobody: the relay holds a few pages and reads no further."""
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, broker, page_events_max=10)) as relay:
        first = append(own_url, tenant, streams=1, events=1)
        await published(relay, first)
        pid = broker.pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            end = append(own_url, tenant, streams=20, events=20)
            await asyncio.sleep(1)
            assert first < relay.status.events <= first + 40
        finally:
            os.kill(pid, signal.SIGCONT)
        await published(relay, end)


async def test_appending_goes_on_while_kafka_is_stuck(own_url: str, broker: EmbeddedKafka) -> None:
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, broker)) as relay, EventStore(own_url, Codec([Tally])):
        await until(lambda: relay.status.kafka_connected)
        pid = broker.pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            await write_by_store(own_url, tenant, 60)
            assert time.monotonic() - began < 10
        finally:
            os.kill(pid, signal.SIGCONT)
        end = len(log_of(own_url))
        await published(relay, end)
        with suppress(TimeoutError):
            await until(lambda: relay.status.lag_s == 0, 3)
        assert relay.status.lag_s == 0
