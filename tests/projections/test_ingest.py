"""Ingest between a real log, a real broker and a real ClickHouse, while each of them is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from erp.embedded.address import with_user
from erp.embedded.clickhouse import EmbeddedClickhouse, kept_up
from erp.embedded.kafka import EmbeddedKafka
from eventstore.cloudevents import LogEvent, batch, event_json
from eventstore.leaf import leaf_hash
from eventstore.packing import Packing, topic_of
from eventstore.relay import Relay
from projections import log_copy
from projections.clickhouse import ClickHouse, StatementFailed
from projections.ingest import Ingest
from tests.eventstore.conftest import new_tenant
from tests.eventstore.relaying import new_relay
from tests.eventstore.requests import STREAM_TYPE, call, new_event, new_request
from tests.eventstore.stream import PARTITIONS, log_of
from tests.eventstore.tally import Tally
from tests.projections.world import CODEC

pytestmark = pytest.mark.integration

TOPICS = {topic_of("erp", name): PARTITIONS for name in (STREAM_TYPE, Tally.TOPIC)}


# What the tests act on


@pytest.fixture
def tenant(own_url: str) -> UUID:
    return new_tenant(own_url)


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    async with ClickHouse(lambda: clickhouse_url) as client:
        yield client


@pytest.fixture
def broker() -> Iterator[EmbeddedKafka]:
    """A broker with nothing in it."""
    with TemporaryDirectory(prefix="erp-kafka-") as folder, EmbeddedKafka(Path(folder), TOPICS) as running:
        yield running


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


async def arrived(clickhouse: ClickHouse, owner_url: str, timeout_s: float = 20) -> None:
    """Wait until the log copy is the log, each event with its leaf hash."""
    expected = [(each.event.position, each.leaf_hash) for each in logged(owner_url)]
    found: list[tuple[int, bytes]] = []
    try:
        async with asyncio.timeout(timeout_s):
            while (found := await copied(clickhouse)) != expected:
                await asyncio.sleep(0.05)
    except TimeoutError:
        missing = {position for position, _ in expected} - {position for position, _ in found}
        pytest.fail(f"{len(missing)} of {len(expected)} are missing: {sorted(missing)[:20]}")


# Ingest alone


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
    assert (ingest.status.messages, ingest.status.events, ingest.status.known) == (3, 8, 4)


@pytest.mark.parametrize("garbage", [None, b"", b"{}", b"\xff", b'[{"specversion": "1.0"}]'])
async def test_a_message_that_is_none_of_ours_is_passed_over(
    own_url: str, tenant: UUID, clickhouse: ClickHouse, garbage: bytes | None
) -> None:
    await log_copy.prepare(clickhouse)
    append(own_url, tenant, 1)
    ingest = new_ingest(own_url, clickhouse)
    assert await ingest.take([garbage, message(*logged(own_url))])
    assert len(await copied(clickhouse)) == 2
    assert ingest.status.unreadable == 1


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
    assert await asyncio.wait_for(taking, 5)
    await arrived(clickhouse, own_url)


async def test_told_to_stop_it_answers_for_nothing(own_url: str, tenant: UUID) -> None:
    append(own_url, tenant, 1)
    async with ClickHouse(lambda: "http://127.0.0.1:1/default") as nowhere:
        ingest = new_ingest(own_url, nowhere)
        taking = asyncio.create_task(ingest.take([message(*logged(own_url))]))
        await asyncio.sleep(0.3)
        assert not taking.done()
        ingest.stop()
        assert not await asyncio.wait_for(taking, 5)
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
            await asyncio.wait_for(taking, 60)
            await arrived(clickhouse, own_url)
            assert ingest.status.failures > 0


# With Faust, in processes that can be killed


class Process:
    """A worker that can be killed."""

    def __init__(self, arguments: Sequence[str], out: Path) -> None:
        self.out = out
        with out.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.projections.working", *arguments], stdout=file, stderr=file
            )

    def output(self) -> str:
        return self.out.read_text()

    async def until(self, happened: Callable[[str], bool], timeout_s: float = 30) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not happened(self.output()):
                    assert self._process.poll() is None
                    await asyncio.sleep(0.05)
        except (TimeoutError, AssertionError):
            pytest.fail(f"code {self._process.poll()}: {self.output()}")

    async def until_it_says(self, words: str, times: int = 1) -> None:
        await self.until(lambda output: output.count(words) >= times)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(30)


class Start:
    """Starts workers on the system of a test."""

    def __init__(self, owner_url: str, clickhouse_url: str, home: Path, out: Path) -> None:
        self._arguments = [owner_url, clickhouse_url, str(home)]
        self._out = out
        self.started: list[Process] = []

    def __call__(self, *how: str) -> Process:
        out = self._out / f"worker-{len(self.started)}.log"
        self.started.append(Process([*self._arguments, *how], out))
        return self.started[-1]


@pytest.fixture
def start(own_url: str, clickhouse_url: str, broker: EmbeddedKafka, tmp_path: Path) -> Iterator[Start]:
    made = Start(own_url, clickhouse_url, broker.home, tmp_path)
    yield made
    for process in made.started:
        process.end()


@asynccontextmanager
async def relaying(owner_url: str, broker: EmbeddedKafka, **packing: Any) -> AsyncIterator[Relay]:
    relay = new_relay(owner_url, broker)
    if packing:
        relay._packing = Packing(partitions=PARTITIONS, **packing)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await asyncio.wait_for(task, 20)


@contextmanager
def appending(owner_url: str, tenant: UUID) -> Iterator[None]:
    """A writer beside the test, a hundred events a second."""
    writer = subprocess.Popen([sys.executable, "-m", "tests.projections.writing", owner_url, str(tenant)])
    try:
        yield
    finally:
        writer.terminate()
        writer.wait(20)


async def test_events_arrive_and_the_end_is_quick(
    own_url: str, tenant: UUID, broker: EmbeddedKafka, clickhouse: ClickHouse, start: Start
) -> None:
    worker = start()
    async with relaying(own_url, broker, event_bytes_max=10_000, batch_bytes_max=10_000):
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as stranger:
            await stranger.send_and_wait(topic_of("erp", STREAM_TYPE), b"garbage", partition=0)
        append(own_url, tenant, 50)
        append(own_url, tenant, 2, data=b'{"text":"' + b"x" * 100_000 + b'"}')
        await arrived(clickhouse, own_url)
        append(own_url, tenant, 1)
        await arrived(clickhouse, own_url)
    await worker.until_it_says("a message that is none of ours is passed over")
    began = time.monotonic()
    assert worker.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 3
    assert "Traceback" not in worker.output()


async def test_two_share_the_partitions_and_one_that_dies_is_replaced(
    own_url: str, tenant: UUID, broker: EmbeddedKafka, clickhouse: ClickHouse, start: Start
) -> None:
    first, second = start(), start()
    async with relaying(own_url, broker):
        with appending(own_url, tenant):
            await first.until_it_says("has 4 partitions")
            await second.until_it_says("has 4 partitions")
            await asyncio.sleep(0.5)
            first.end(signal.SIGKILL)
            await second.until(lambda output: output.rstrip().endswith("has 8 partitions of Kafka's topics"))
            third = start()
            await third.until_it_says("has 4 partitions")
        await arrived(clickhouse, own_url)


async def test_one_that_dies_in_mid_stream_loses_nothing(
    own_url: str, tenant: UUID, broker: EmbeddedKafka, clickhouse: ClickHouse, start: Start
) -> None:
    async with relaying(own_url, broker):
        with appending(own_url, tenant):
            for _ in range(3):
                before = len(await copied(clickhouse))
                worker = start()
                await worker.until_it_says("has 8 partitions")
                while len(await copied(clickhouse)) < before + 30:
                    await asyncio.sleep(0.02)
                worker.end(signal.SIGKILL)
        start()
        await arrived(clickhouse, own_url)


async def test_a_broker_that_comes_back_empty_is_used_again(
    own_url: str, tenant: UUID, broker: EmbeddedKafka, clickhouse: ClickHouse, start: Start
) -> None:
    worker = start()
    async with relaying(own_url, broker) as relay:
        append(own_url, tenant, 20)
        await arrived(clickhouse, own_url)
        for times in (2, 3):
            pid = broker.pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.5)
            broker.ensure_running()
            await wait_for(lambda: relay.status.kafka_connected)
            append(own_url, tenant, 20)
            await arrived(clickhouse, own_url)
            await worker.until_it_says("has 8 partitions", times)
    assert worker.end(signal.SIGTERM) == 0
    assert len(worker.output().splitlines()) < 10, worker.output()


async def wait_for(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_broker_that_is_not_there_yet_is_waited_for_and_one_that_is_dead_does_not_hold_up_the_end(
    own_url: str, tenant: UUID, clickhouse_url: str, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    with TemporaryDirectory(prefix="erp-kafka-") as folder:
        worker = Process([own_url, clickhouse_url, folder], tmp_path / "worker.log")
        try:
            await worker.until_it_says("Kafka: no Kafka broker has run in")
            with EmbeddedKafka(Path(folder)) as empty:
                await worker.until_it_says("Kafka: the relay has not made the topic erp.test.")
                empty_pid = empty.pid()
            assert empty_pid is not None
            with EmbeddedKafka(Path(folder), TOPICS) as broker:
                async with relaying(own_url, broker):
                    append(own_url, tenant, 5)
                    await arrived(clickhouse, own_url)
            await worker.until_it_says("Kafka is gone")
            began = time.monotonic()
            assert worker.end(signal.SIGTERM) == 0
            assert time.monotonic() - began < 12
        finally:
            worker.end()


async def test_one_that_looks_well_and_does_nothing_is_replaced(
    own_url: str, tenant: UUID, broker: EmbeddedKafka, clickhouse: ClickHouse, start: Start
) -> None:
    worker = start("deaf")
    async with relaying(own_url, broker):
        await worker.until_it_says("has 8 partitions")
        append(own_url, tenant, 20)
        await worker.until_it_says("consuming anew: it brings nothing, and there is something to read")
        await arrived(clickhouse, own_url)
