"""Saga workers as processes, between a real log, a relay and a broker, while any of them is killed."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest

from eventstore.packing import topic_of
from tests.eventstore.relaying import new_relay
from tests.kafka.broker import Broker
from tests.kafka.reaching import word_for
from tests.sagas.parcels import AGGREGATES
from tests.sagas.world import PARTITIONS, World
from tests.waiting import WAIT_S, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

TOPICS = {topic_of("erp", each.TOPIC): PARTITIONS for each in AGGREGATES}


@pytest.fixture
def kafka_topics() -> dict[str, int]:
    """Those that the relay publishes to."""
    return {**TOPICS, "erp.test.raw": PARTITIONS, "erp.test.tally": PARTITIONS}


class Process:
    """A worker that can be killed."""

    def __init__(self, owner_url: str, kafka: Broker, out: Path, *how: str) -> None:
        self._out = out
        with out.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.sagas.working", owner_url, word_for(kafka), *how],
                stdout=file,
                stderr=file,
            )

    def output(self) -> str:
        return self._out.read_text()

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(40)

    async def consumes(self) -> None:
        def said() -> bool:
            assert self._process.poll() is None, self.output()
            return "consumes" in self.output()

        await eventually(said)


class Start:
    """Starts workers on the log and broker of a test."""

    def __init__(self, owner_url: str, kafka: Broker, out: Path) -> None:
        self._owner_url, self._kafka, self._out = owner_url, kafka, out
        self.started: list[Process] = []

    def __call__(self, *how: str) -> Process:
        out = self._out / f"worker-{len(self.started)}.log"
        self.started.append(Process(self._owner_url, self._kafka, out, *how))
        return self.started[-1]


@pytest.fixture
def start(own_url: str, kafka: Broker, tmp_path: Path) -> Iterator[Start]:
    made = Start(own_url, kafka, tmp_path)
    yield made
    for process in made.started:
        process.end()


@asynccontextmanager
async def relaying(owner_url: str, kafka: Broker) -> AsyncIterator[None]:
    relay = new_relay(owner_url, kafka)
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        relay.stop()
        await asyncio.wait_for(task, 20)


def statuses(parcels: World) -> dict[str, int]:
    """How many sagas stand how, by their last event."""
    rows = parcels.rows(
        """SELECT status, count(*) FROM (
               SELECT DISTINCT ON (stream_id) convert_from(data, 'UTF8')::json->>'status' AS status
                 FROM erp.events WHERE stream_type = 'sagas.test_courier'
                ORDER BY stream_id, version DESC) AS last GROUP BY status"""
    )
    return dict(rows)


async def come_to(parcels: World, status: str, count: int, wait_s: float = WAIT_S) -> None:
    def holds() -> bool:
        return statuses(parcels) == {status: count}

    try:
        await eventually(holds, wait_s)
    except TimeoutError:
        pytest.fail(f"{statuses(parcels)} instead of {count} {status}")


def assert_once(parcels: World, sent: list[UUID]) -> None:
    """Each parcel was loaded once and rung for once."""
    for kind in ("test.lorry.loaded", "test.door.rung"):
        rows = parcels.rows(
            "SELECT convert_from(data, 'UTF8')::json->>'parcel' FROM erp.events WHERE type = %s", kind
        )
        assert sorted(row[0] for row in rows) == sorted(str(each) for each in sent)


async def test_events_come_by_kafka_and_sagas_act_on_them(
    parcels: World, kafka: Broker, start: Start
) -> None:
    worker = start("60")  # for so long nothing is fetched from the store, however slow Kafka is
    async with relaying(parcels.owner_url, kafka):
        await worker.consumes()
        sent = [await parcels.send(lorry=f"lorry {number}") for number in range(20)]
        await come_to(parcels, "resting", 20)
        for each in sent:
            await parcels.sign(each)
        await come_to(parcels, "ended", 20)
        assert_once(parcels, sent)
        assert worker.end(signal.SIGTERM) == 0
    assert "Traceback" not in worker.output()
    assert "healed 0 " in worker.output()


@pytest.mark.slow
async def test_kill_9_at_any_moment_changes_no_outcome(parcels: World, kafka: Broker, start: Start) -> None:
    sent: list[UUID] = []
    async with relaying(parcels.owner_url, kafka):
        for round_ in range(6):
            worker = start()
            await worker.consumes()
            sent += [await parcels.send(lorry=f"lorry {round_}-{number}") for number in range(15)]
            await asyncio.sleep(random.uniform(0, 0.25))
            worker.end()
        start()
        await come_to(parcels, "resting", len(sent))
        assert_once(parcels, sent)


@pytest.mark.slow
async def test_two_share_the_work_and_one_takes_over(parcels: World, kafka: Broker, start: Start) -> None:
    first, second = start(), start()
    sent: list[UUID] = []
    async with relaying(parcels.owner_url, kafka):
        await first.consumes()
        await second.consumes()
        sent += [await parcels.send(lorry=f"a {number}") for number in range(40)]
        await asyncio.sleep(0.05)
        first.end()
        sent += [await parcels.send(lorry=f"b {number}") for number in range(40)]
        await come_to(parcels, "resting", 80)
        assert_once(parcels, sent)


@pytest.mark.slow
async def test_a_wiped_and_a_missing_broker_lose_nothing(parcels: World, kafka: Broker, start: Start) -> None:
    worker = start()
    sent: list[UUID] = []
    async with relaying(parcels.owner_url, kafka):
        await worker.consumes()
        sent += [await parcels.send(lorry=f"a {number}") for number in range(20)]
        kafka.wipe()
        sent += [await parcels.send(lorry=f"b {number}") for number in range(20)]
        await come_to(parcels, "resting", 40)
        kafka.kill()
        sent += [await parcels.send(lorry=f"c {number}") for number in range(20)]
        await come_to(parcels, "resting", 60)
        kafka.start()
        sent += [await parcels.send(lorry=f"d {number}") for number in range(20)]
        await come_to(parcels, "resting", 80)
        assert_once(parcels, sent)
    with suppress(subprocess.TimeoutExpired):
        assert worker.end(signal.SIGTERM) == 0
    assert "Traceback" not in worker.output()
