"""The producer given up at any moment of its life: what it had opened is closed."""

import asyncio
import gc
from contextlib import suppress

import pytest

from eventstore.packing import Message, Packing, Partition, topic_of
from eventstore.publisher import KafkaOptions, Publisher
from tests.eventstore.requests import STREAM_TYPE
from tests.eventstore.stream import PARTITIONS
from tests.kafka.broker import Broker

# aiokafka warns of a connection that nobody closed; here the log is looked at, where all of them are.
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")]

_MOMENTS = 100
TOPIC = topic_of("erp", STREAM_TYPE)


@pytest.fixture
def kafka_topics() -> dict[str, int]:
    return {TOPIC: PARTITIONS}


async def publish(kafka: Broker) -> None:
    """Connect, look after topics, send, hang up."""
    options = KafkaOptions(bootstrap=lambda: kafka.bootstrap)
    async with Publisher(options, Packing(partitions=PARTITIONS)) as publisher:
        await publisher.ensure_topics([STREAM_TYPE])
        for each in await publisher.send([Message(Partition(TOPIC, 0), b"[]", 1, 1)]):
            await each


async def test_given_up_at_any_moment_it_leaves_nothing_open(
    kafka: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A relay that loses its database gives up its producer wherever that is."""
    clock = asyncio.get_running_loop().time
    await publish(kafka)
    began = clock()
    await publish(kafka)
    whole_s = clock() - began
    # What earlier tests have left is none of ours.
    gc.collect()
    caplog.clear()
    for moment in range(_MOMENTS):
        publishing = asyncio.create_task(publish(kafka))
        give_up_at = clock() + whole_s * moment / _MOMENTS
        while clock() < give_up_at:
            await asyncio.sleep(0)
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing
        # The task's exception holds its frames, and with them what was forgotten there.
        del publishing
        gc.collect()
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
