"""Workers as processes, between a real log, broker and ClickHouse, while any of them is killed."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer

from erp.embedded.kafka import EmbeddedKafka
from eventstore.packing import Packing, topic_of
from eventstore.relay import Relay
from projections.clickhouse import ClickHouse
from tests.eventstore.relaying import new_relay
from tests.eventstore.requests import STREAM_TYPE
from tests.eventstore.stream import PARTITIONS
from tests.eventstore.tally import Tally
from tests.kafka.broker import Broker, EmbeddedBroker, embedded_broker
from tests.kafka.reaching import word_for
from tests.projections.logs import append, arrived, copied
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPICS = {topic_of("erp", name): PARTITIONS for name in (STREAM_TYPE, Tally.TOPIC)}


@pytest.fixture
def kafka_topics() -> dict[str, int]:
    """Those that the relay publishes to."""
    return TOPICS


@pytest.fixture
def embedded(kafka_topics: dict[str, int]) -> Iterator[EmbeddedBroker]:
    """The broker of `erp up`, for what a real one does in another way."""
    with embedded_broker(kafka_topics) as broker:
        yield broker


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

    async def until(self, happened: Callable[[str], bool]) -> None:
        def holds() -> bool:
            assert self._process.poll() is None
            return happened(self.output())

        try:
            await eventually(holds)
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

    def __init__(self, owner_url: str, clickhouse_url: str, out: Path) -> None:
        self._urls = [owner_url, clickhouse_url]
        self._out = out
        self.started: list[Process] = []

    def __call__(self, broker: Broker, *how: str) -> Process:
        out = self._out / f"worker-{len(self.started)}.log"
        self.started.append(Process([*self._urls, word_for(broker), *how], out))
        return self.started[-1]


@pytest.fixture
def start(own_url: str, clickhouse_url: str, tmp_path: Path) -> Iterator[Start]:
    made = Start(own_url, clickhouse_url, tmp_path)
    yield made
    for process in made.started:
        process.end()


@asynccontextmanager
async def relaying(owner_url: str, broker: Broker, **packing: Any) -> AsyncIterator[Relay]:
    relay = new_relay(owner_url, broker)
    if packing:
        relay._packing = Packing(partitions=PARTITIONS, **packing)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await asyncio.wait_for(task, 20)


def partitions_said(output: str) -> list[str]:
    """How many partitions a worker has said that it has, one time after the other."""
    return re.findall(r"has (\d+) partitions of Kafka's topics", output)


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
    own_url: str, tenant: UUID, kafka: Broker, clickhouse: ClickHouse, start: Start
) -> None:
    worker = start(kafka)
    async with relaying(own_url, kafka, event_bytes_max=10_000, batch_bytes_max=10_000):
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as stranger:
            await stranger.send_and_wait(topic_of("erp", STREAM_TYPE), b"garbage", partition=0)
        append(own_url, tenant, 50)
        append(own_url, tenant, 2, data=b'{"text":"' + b"x" * 100_000 + b'"}')
        await arrived(clickhouse, own_url)
        append(own_url, tenant, 1)
        await arrived(clickhouse, own_url)
    await worker.until_it_says("a message that is none of ours is passed over")
    began = time.monotonic()
    assert worker.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 8
    assert "Traceback" not in worker.output()


async def test_two_share_the_partitions_and_one_that_dies_is_replaced(
    own_url: str, tenant: UUID, kafka: Broker, clickhouse: ClickHouse, start: Start
) -> None:
    first, second = start(kafka), start(kafka)
    async with relaying(own_url, kafka):
        with appending(own_url, tenant):
            await first.until_it_says("has 4 partitions")
            await second.until_it_says("has 4 partitions")
            await asyncio.sleep(0.5)
            first.end(signal.SIGKILL)
            await second.until(lambda output: partitions_said(output)[-1:] == ["8"])
        await arrived(clickhouse, own_url)


async def test_one_that_dies_in_mid_stream_loses_nothing(
    own_url: str, tenant: UUID, kafka: Broker, clickhouse: ClickHouse, start: Start
) -> None:
    async with relaying(own_url, kafka):
        with appending(own_url, tenant):
            for _ in range(2):
                before = len(await copied(clickhouse))
                worker = start(kafka)
                await worker.until_it_says("has 8 partitions")
                while len(await copied(clickhouse)) < before + 30:
                    await asyncio.sleep(0.02)
                worker.end(signal.SIGKILL)
        start(kafka)
        await arrived(clickhouse, own_url)


async def test_a_broker_that_comes_back_empty_is_used_again(
    own_url: str, tenant: UUID, embedded: EmbeddedBroker, clickhouse: ClickHouse, start: Start
) -> None:
    worker = start(embedded)
    async with relaying(own_url, embedded) as relay:
        append(own_url, tenant, 20)
        await arrived(clickhouse, own_url)
        for times in (2, 3):
            embedded.kill()
            await asyncio.sleep(0.5)
            embedded.start()
            await eventually(lambda: relay.status.kafka_connected)
            append(own_url, tenant, 20)
            await arrived(clickhouse, own_url)
            await worker.until_it_says("has 8 partitions", times)
    assert worker.end(signal.SIGTERM) == 0
    # Twice three lines and the first; what is said again and again makes hundreds.
    assert len(worker.output().splitlines()) < 20, worker.output()


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
                async with relaying(own_url, EmbeddedBroker(broker)):
                    append(own_url, tenant, 5)
                    await arrived(clickhouse, own_url)
            await worker.until_it_says("Kafka is gone")
            began = time.monotonic()
            assert worker.end(signal.SIGTERM) == 0
            assert time.monotonic() - began < 12
        finally:
            worker.end()


async def test_one_that_looks_well_and_does_nothing_is_replaced(
    own_url: str, tenant: UUID, embedded: EmbeddedBroker, clickhouse: ClickHouse, start: Start
) -> None:
    worker = start(embedded, "deaf")
    async with relaying(own_url, embedded):
        await worker.until_it_says("has 8 partitions")
        append(own_url, tenant, 20)
        await worker.until_it_says("consuming anew: it brings nothing, and there is something to read")
        await arrived(clickhouse, own_url)
