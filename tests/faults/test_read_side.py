"""Whatever is killed, wiped or late while commands come in: reports equal the event store in the end."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from erp.embedded.kafka import EmbeddedKafka
from tests.e2e.load import Load
from tests.e2e.system import Api, Books, Process, bulk_line, entry
from tests.faults.system import REPORTS, System, answer, head, replayed, reported
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

PARTS = ("relay", "worker", "broker", "clickhouse")


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A system that runs; each test has a tenant of its own in it."""
    with TemporaryDirectory(prefix="erp-faults-") as folder, System(Path(folder).resolve() / "home") as made:
        yield made


@pytest.fixture
def books(system: System) -> Iterator[Books]:
    """Those of a new tenant, opened."""
    made = system.books()
    yield made
    made.close()


@pytest.mark.parametrize("parts", [*((part,) for part in PARTS), PARTS], ids="+".join)
def test_kill_9_under_load(system: System, books: Books, parts: tuple[str, ...]) -> None:
    """200 commands a second go on while it dies. A wiped broker is one that was killed: it is in memory."""
    with Load(books, per_s=200) as load:
        load.until_acknowledged(300)
        system.kill(*parts)
        load.until_acknowledged(600)
    assert load.refused == []
    assert load.unknown == []
    last = head(books)
    assert reported(books, last) == replayed(books)
    listed = entries(books, last)
    assert len(listed) == len(set(listed)) == len(load.acknowledged)
    system.erp("projections", "verify")


def test_reports_are_the_same_bytes_after_a_rebuild(system: System, books: Books) -> None:
    """ClickHouse's folder is deleted, and made anew from the store."""
    with Load(books) as load:
        load.until_acknowledged(500)
    last = head(books)
    before = [answer(books, path, last).content for path in REPORTS]
    system.stop()
    system.forget_clickhouse()
    system.start()
    system.erp("projections", "rebuild", "--all", "--from-store")
    assert [answer(books, path, last).content for path in REPORTS] == before
    system.erp("projections", "verify")


def test_clickhouse_dies_while_a_projection_is_rebuilt(system: System, books: Books) -> None:
    """At whatever moment: the rebuild waits for it and goes on, and the old table answers meanwhile."""
    lines = [bulk_line("finance.post_journal_entry", entry(f"{n}")) for n in range(5000)]
    assert {each["status"] for each in books.bulk(*lines)} == {201}
    last = head(books)
    before = reported(books, last)
    for pause_s in (0.8, 1.2, 1.6, 2.0):
        rebuild = Process(system.home.path, "projections", "rebuild", "finance_lines")
        time.sleep(pause_s)
        system.kill("clickhouse")
        assert rebuild.wait(120) == 0, rebuild.output
        assert reported(books, last) == before == replayed(books)
    system.erp("projections", "verify")


def test_a_worker_so_late_that_kafka_has_dropped_what_it_needs(system: System, books: Books) -> None:
    """The broker keeps 5 MiB a partition; what is older comes from the store."""
    system.stop()
    relay = Process(system.home.path, "relay", ERP_KAFKA__COMPRESSION="none")
    with Api(system.home.path, port=system.port) as api:
        lines = [bulk_line("finance.post_journal_entry", entry(f"{n}")) for n in range(15_000)]
        for _ in range(3):
            assert {each["status"] for each in books.bulk(*lines)} == {201}
        last = head(books)
        until(lambda: published(books) == last, "the relay has published all")
        assert dropped(system.home.path, "erp.finance.journal_entry"), "Kafka has kept all: nothing is proved"
        api.running.end()
        # The broker lives on meanwhile: the relay uses it.
        system.start()
    relay.end()
    assert reported(books, last) == replayed(books)
    system.erp("projections", "verify")


def entries(books: Books, position: int) -> list[str]:
    """The ids of all entries, as the list has them."""
    found: list[str] = []
    path: str | None = REPORTS[-1]
    while path is not None:
        page = answer(books, path, position).json()
        found += [each["id"] for each in page["items"]]
        path = f"{REPORTS[-1]}&cursor={page['next_cursor']}" if page["next_cursor"] else None
    return found


def published(books: Books) -> int:
    """How far the log is in Kafka."""
    ((position,),) = books.home.rows("SELECT position FROM erp.relay")
    return int(position)


def dropped(home: Path, topic: str) -> int:
    """How many of its messages the broker does not have any more."""

    async def counted() -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=EmbeddedKafka(home).bootstrap)
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(4)]
            return sum((await consumer.beginning_offsets(partitions)).values())
        finally:
            await consumer.stop()

    return asyncio.run(counted())
