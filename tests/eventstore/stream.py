"""What a consumer of the relay's topics sees, and what it must have seen."""

import asyncio
from collections import defaultdict
from typing import Any, Self

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from eventstore.cloudevents import Published, decode_batch
from eventstore.leaf import StoredEvent, leaf_hash
from eventstore.packing import Partition, partition_of, topic_of
from tests.waiting import WAIT_S

PARTITIONS = 4
COLUMNS = ", ".join(StoredEvent._fields)


class Watcher:
    """Reads every partition of the topics from its beginning, and keeps all there is."""

    def __init__(self, bootstrap: str, *stream_types: str) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=16 << 20,
            fetch_max_bytes=64 << 20,
        )
        self._topics = [topic_of("erp", stream_type) for stream_type in stream_types]
        self.seen: dict[Partition, list[Published]] = defaultdict(list)
        self.messages: list[Any] = []

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(
            [TopicPartition(topic, number) for topic in self._topics for number in range(PARTITIONS)]
        )
        await self._consumer.seek_to_beginning()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def until(self, position: int, wait_s: float = WAIT_S, *, after: int = 0) -> None:
        """Read until every position up to this one has been seen."""
        async with asyncio.timeout(wait_s):
            while not self.positions() >= set(range(after + 1, position + 1)):
                await self.read()

    async def read(self) -> None:
        for to, messages in (await self._consumer.getmany(timeout_ms=100)).items():
            for message in messages:
                self.messages.append(message)
                self.seen[Partition(to.topic, to.partition)] += decode_batch(message.value)

    def positions(self) -> set[int]:
        return {each.event.position for events in self.seen.values() for each in events}

    def without_repeats(self) -> dict[Partition, list[Published]]:
        """What is left to a consumer that ignores what is not newer than all it has seen in the partition."""
        kept: dict[Partition, list[Published]] = {}
        for to, events in self.seen.items():
            last = 0
            for each in events:
                if each.event.position > last:
                    kept.setdefault(to, []).append(each)
                    last = each.event.position
        return kept


def log_of(owner_url: str) -> list[StoredEvent]:
    with psycopg.connect(owner_url, options="-c timezone=UTC") as connection:
        rows = connection.cursor(binary=True).execute(
            f"SELECT {COLUMNS} FROM erp.events ORDER BY position".encode()
        )
        return [StoredEvent(*row) for row in rows.fetchall()]


def expected(log: list[StoredEvent]) -> dict[Partition, list[tuple[StoredEvent, int]]]:
    """Each event of the log with the position before it in its partition, from the documented rules alone."""
    found: dict[Partition, list[tuple[StoredEvent, int]]] = {}
    for event in log:
        to = Partition(f"erp.{event.stream_type}", partition_of(event.stream_id, PARTITIONS))
        there = found.setdefault(to, [])
        there.append((event, there[-1][0].position if there else 0))
    return found


def assert_all_seen(watcher: Watcher, owner_url: str) -> None:
    """Modulo repeats, the partitions hold the log: each event once, as it was, after the right one."""
    kept = watcher.without_repeats()
    log = log_of(owner_url)
    assert {to: [(each.event, each.previous) for each in events] for to, events in kept.items()} == expected(
        log
    )
    assert all(
        each.leaf_hash == leaf_hash(each.event)
        for events in kept.values()
        for each in events
        if each.is_whole
    )
    # What is repeated is the same event, with the same one before it.
    by_position = {each.event.position: each for events in kept.values() for each in events}
    for events in watcher.seen.values():
        for each in events:
            assert each == by_position[each.event.position]
