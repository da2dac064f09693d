"""What the relay does on a real broker only: topics made as the settings say, sequence numbers, refusals by
size, TLS and logins.
"""

import asyncio
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest

from erp.bootstrap import kafka_options
from erp.settings import KafkaSettings, Settings
from eventstore.packing import Packing, topic_of
from eventstore.publisher import KafkaOptions
from eventstore.relay import MessagesTooLarge
from tests.eventstore.conftest import new_tenant
from tests.eventstore.relaying import append, checkpoint, last, new_relay, published, running
from tests.eventstore.requests import STREAM_TYPE, call, new_event, new_request
from tests.eventstore.stream import Watcher, assert_all_seen
from tests.eventstore.tally import Tally
from tests.kafka.apache import PASSWORD, USER, ApacheKafka
from tests.waiting import eventually

pytestmark = pytest.mark.kafka

TOPIC = topic_of("erp", STREAM_TYPE)


async def test_the_relay_makes_its_topics_as_the_settings_say(own_url: str, apache: ApacheKafka) -> None:
    """Before the first event; messages as large as they may become fit."""
    packing = Packing(partitions=7, event_bytes_max=2_000_000)
    async with running(new_relay(own_url, apache, packing)) as relay:
        await eventually(lambda: relay.status.kafka_connected)
    for topic in (TOPIC, topic_of("erp", Tally.TOPIC)):
        assert apache.replicas(topic) == [1] * 7
        assert 2_000_000 <= int(apache.setting_of(topic, "max.message.bytes")) < 2_100_000


async def test_more_replicas_than_there_are_brokers_are_waited_for(
    own_url: str, apache: ApacheKafka, caplog: pytest.LogCaptureFixture
) -> None:
    """For a broker may be on its way; the reason is said once."""
    options = KafkaOptions(bootstrap=lambda: apache.bootstrap, replication=3)
    async with running(new_relay(own_url, options)) as relay:
        await eventually(lambda: relay.status.kafka_failures > 2)
    said = [each.getMessage() for each in caplog.records if each.name == "eventstore.relay"]
    (line,) = [each for each in said if "cannot be made" in each]
    assert f"the topic {TOPIC} cannot be made" in line
    assert "eplication" in line
    assert apache.topics() == []


class Batch(NamedTuple):
    """A batch of records as the broker has it on disk (its log format, version 2), the fields we look at."""

    offset: int
    records: int
    compression: int
    producer: int
    epoch: int
    sequence: int


def batches(file: Path) -> Iterator[Batch]:
    data = file.read_bytes()
    at = 0
    while at < len(data):
        offset, length, _, _, _, attributes, _, _, _, producer, epoch, sequence, records = struct.unpack_from(
            ">qiibIhiqqqhii", data, at
        )
        yield Batch(offset, records, attributes & 7, producer, epoch, sequence)
        at += 12 + length


async def test_messages_carry_sequence_numbers(own_url: str, apache: ApacheKafka) -> None:
    """By which the broker knows what it has already: a repeat by the producer is no second message."""
    async with running(new_relay(own_url, apache)) as relay:
        await published(relay, append(own_url, new_tenant(own_url), streams=40, events=5))
    files = sorted(apache.data.glob(f"{TOPIC}-?/*.log"))
    assert len(files) == 4
    for file in files:
        found = list(batches(file))
        assert {(each.compression, each.epoch) for each in found} == {(3, 0)}  # lz4
        assert {each.producer for each in found} == {found[0].producer}
        assert found[0].producer >= 0
        assert [each.sequence for each in found] == [each.offset for each in found]
        assert sum(each.records for each in found) > 1


async def test_nothing_is_lost_when_the_broker_is_killed_again_and_again(
    own_url: str, apache: ApacheKafka
) -> None:
    """While events are under way to it; it keeps what it has answered for."""
    tenant = new_tenant(own_url)
    end = 0
    async with running(new_relay(own_url, apache)) as relay:
        for pause_s in (0.0, 0.03, 0.1):
            end = append(own_url, tenant, streams=60, events=5)
            await asyncio.sleep(pause_s)
            apache.kill()
            await asyncio.to_thread(apache.start)
        await published(relay, end)
        async with Watcher(apache.bootstrap, STREAM_TYPE) as watcher:
            await watcher.until(end)
            assert_all_seen(watcher, own_url)


async def test_what_kafka_has_dropped_in_time_can_be_seen(own_url: str, apache: ApacheKafka) -> None:
    """A consumer that comes too late: the first event that is left names one that is not there."""
    tenant = new_tenant(own_url)
    async with running(new_relay(own_url, apache)) as relay:
        before = append(own_url, tenant, streams=20, events=5)
        await published(relay, before)
        await asyncio.to_thread(apache.drop_messages, TOPIC, 4)
        end = append(own_url, tenant, streams=20, events=5)
        await published(relay, end)
    async with Watcher(apache.bootstrap, STREAM_TYPE) as watcher:
        await watcher.until(end, after=before)
        assert min(watcher.positions()) == before + 1
        assert all(0 < events[0].previous <= before for events in watcher.seen.values())


def noise(size: int) -> bytes:
    """JSON that no compression makes smaller than half of it."""
    return b'"' + random.randbytes(size // 2).hex().encode() + b'"'


@pytest.mark.parametrize("sizes", [(3_500_000, 10), (10, 3_500_000, 10)])
async def test_an_event_too_large_for_the_topic_goes_without_its_data(
    own_url: str, apache: ApacheKafka, sizes: tuple[int, ...]
) -> None:
    """The topic was made by somebody else, and its bound is below ours. What follows it in the partition does
    not come before it, also where nothing came before that whose number in the sequence would be missed.
    """
    apache.make_topics({TOPIC: 4}, max_message_bytes=1_100_000)
    tenant, stream = new_tenant(own_url), uuid4()
    with psycopg.connect(own_url, autocommit=True) as connection:
        for version, size in enumerate(sizes, start=1):
            call(connection, new_request(tenant, new_event(stream, version, data=noise(size))))
        end = last(connection)
    # Slow, so that the producer could have sent what follows before it is given up.
    async with running(new_relay(own_url, apache, poll_s=0.5)) as relay:
        await published(relay, end)
    async with Watcher(apache.bootstrap, STREAM_TYPE) as watcher:
        await watcher.until(end)
        events = [each for events in watcher.without_repeats().values() for each in events]
        assert {each.event.position: each.is_whole for each in events} == {
            position: size == 10 for position, size in enumerate(sizes, start=1)
        }


async def test_a_broker_that_takes_no_message_of_ours_is_a_matter_for_a_person(
    own_url: str, apache: ApacheKafka
) -> None:
    apache.make_topics({TOPIC: 4}, max_message_bytes=100_000)
    append(own_url, new_tenant(own_url), streams=1, events=4, data=noise(300_000))
    with pytest.raises(MessagesTooLarge, match=r"no message of 1000000 bytes .* raise message\.max\.bytes"):
        await asyncio.wait_for(new_relay(own_url, apache).run(), 20)
    assert checkpoint(own_url) == 0


WAYS_IN = [
    {"security_protocol": "SSL"},
    *(
        {"security_protocol": protocol, "sasl_mechanism": mechanism}
        for protocol in ("SASL_PLAINTEXT", "SASL_SSL")
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    ),
]


def options_for(apache: ApacheKafka, way: dict[str, str], **others: str | None) -> KafkaOptions:
    """As the relay makes them from its settings."""
    given: dict[str, object] = {"bootstrap": apache.address(way["security_protocol"]), **way}
    if way["security_protocol"].endswith("SSL"):
        given["ca_file"] = apache.authority.ca_file
    if way["security_protocol"].startswith("SASL"):
        given |= {"username": USER, "password": PASSWORD}
    return kafka_options(Settings(kafka=KafkaSettings.model_validate(given | others)))


@pytest.mark.parametrize("way", WAYS_IN, ids=lambda way: "-".join(way.values()))
async def test_by_tls_and_with_a_login(own_url: str, apache: ApacheKafka, way: dict[str, str]) -> None:
    end = append(own_url, new_tenant(own_url), streams=5, events=4)
    async with running(new_relay(own_url, options_for(apache, way))) as relay:
        await published(relay, end)
    async with Watcher(apache.bootstrap, STREAM_TYPE) as watcher:
        await watcher.until(end)
        assert_all_seen(watcher, own_url)


Refused = tuple[dict[str, str], dict[str, str | None], str]
REFUSED: dict[str, Refused] = {
    "wrong password": (WAYS_IN[2], {"password": "wrong"}, "uthentication failed"),
    "unknown user": (WAYS_IN[1], {"username": "nobody"}, "uthentication failed"),
    "unknown authority": (WAYS_IN[0], {"ca_file": None}, "certificate verify failed"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
async def test_who_is_not_let_in_is_told_why_and_tries_again(
    own_url: str, apache: ApacheKafka, caplog: pytest.LogCaptureFixture, refused: Refused
) -> None:
    way, others, reason = refused
    async with running(new_relay(own_url, options_for(apache, way, **others))) as relay:
        await eventually(lambda: relay.status.kafka_failures > 1)
    said = [each.getMessage() for each in caplog.records if each.name == "eventstore.relay"]
    (line,) = [each for each in said if "trying again" in each]
    assert reason in line
    assert PASSWORD not in line
    assert "\n" not in line
