"""From Kafka's messages, or without them, to the sagas: everything, in order, and nothing forged."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from eventstore.cloudevents import LogEvent
from eventstore.leaf import StoredEvent
from eventstore.packing import Packer, Packing, Partition
from sagas.positions import Positions, Track
from tests.sagas.world import GROUP, PARTITIONS, Rig, World
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def logged(parcels: World) -> list[LogEvent]:
    """The whole log."""
    columns = ", ".join(StoredEvent._fields)
    rows = parcels.rows(f"SELECT {columns}, leaf_hash FROM erp.events ORDER BY position")
    return [LogEvent(StoredEvent(*row[:-1]), row[-1]) for row in rows]


def messages(events: Sequence[LogEvent], **packing: Any) -> list[bytes]:
    """As the relay sends them, an event a message."""
    packer = Packer(Packing(partitions=PARTITIONS, batch_events_max=1, **packing), {})
    return [message.value for event in events for message in packer.pack([event])]


def of_interest(rig: Rig, values: Sequence[bytes]) -> list[bytes]:
    """Only those that come on topics it listens to."""
    from eventstore.cloudevents import decode_batch

    return [each for each in values if rig.interests.partition(decode_batch(each)[0].event)]


def idle(rig: Rig) -> bool:
    return not rig.feed._in_flight


async def all_in(parcels: World, sent: Sequence[UUID], status: str = "resting") -> bool:
    return all([(await parcels.saga(each)).status == status for each in sent])


def heard_in_order(parcels: World) -> bool:
    """Whether each saga heard of the versions of each stream in order."""
    last: dict[tuple[str, str], int] = {}
    for kind, data in parcels.history():
        if kind == "noticed":
            stream = (data["key"], data["cause"]["stream_id"])
            if data["cause"]["version"] <= last.get(stream, 0):
                return False
            last[stream] = data["cause"]["version"]
    return True


def kept(parcels: World) -> dict[Partition, int]:
    rows = parcels.rows("SELECT topic, partition, position FROM erp.partition_positions")
    return {Partition(topic, number): position for topic, number, position in rows}


async def test_events_of_messages_are_heard_and_positions_kept(parcels: World) -> None:
    sent = [await parcels.send() for _ in range(10)]
    await parcels.label(sent[0])
    rig = await parcels.rig()
    values = messages(logged(parcels))
    assert await rig.feed.take(values)
    await eventually(lambda: idle(rig))
    assert await all_in(parcels, sent)
    await rig.feed.save()
    ends: dict[Partition, int] = {}
    for event, _ in logged(parcels):
        partition = rig.interests.partition(event)
        if partition is not None:
            ends[partition] = event.position
    assert kept(parcels) == ends
    assert await rig.feed.take(values)
    assert rig.status.repeats == 11
    assert rig.feed.messages == 22
    # Another worker goes on where this one was.
    other = await parcels.rig()
    await other.positions.load()
    assert await other.feed.take(values)
    assert other.status.heard == 0


async def test_what_kafka_left_out_is_read_from_the_store_first(parcels: World) -> None:
    sent = [await parcels.send() for _ in range(12)]
    for each in sent:
        await parcels.label(each)
        await parcels.recall(each)
    rig = await parcels.rig()
    values = of_interest(rig, messages(logged(parcels)))
    came = {rig.interests.partition(each.event) for each in logged(parcels)[-12:]}
    assert await rig.feed.take(values[-12:])
    await eventually(lambda: idle(rig))
    assert rig.status.refilled > 0
    for each in sent:
        if rig.interests.place("test.parcel", each) in came:
            assert (await parcels.saga(each)).ended == "recalled"
    assert heard_in_order(parcels)


async def test_what_another_worker_has_dealt_with_is_not_read_again(parcels: World) -> None:
    for _ in range(8):
        await parcels.send()
    first, second = await parcels.rig(), await parcels.rig()
    values = of_interest(first, messages(logged(parcels)))
    assert await second.feed.take(values[:1])
    assert await first.feed.take(values)
    await eventually(lambda: idle(first))
    await first.feed.save()
    await parcels.send()
    assert await second.feed.take(of_interest(second, messages(logged(parcels)))[-1:])
    await eventually(lambda: idle(second))
    assert second.status.refilled == 0
    assert second.status.heard <= 2


async def test_nothing_is_believed_that_is_not_the_stores(parcels: World) -> None:
    parcel = await parcels.send()
    await parcels.recall(parcel)
    events = [each for each in logged(parcels) if each.event.stream_id == parcel]
    rig = await parcels.rig()
    forged = [
        LogEvent(events[0].event._replace(data=b'{"lorry":"mine","patience_s":null}'), events[0].leaf_hash),
        LogEvent(events[0].event._replace(position=99), events[0].leaf_hash),
        LogEvent(events[0].event._replace(stream_type="test.receipt", position=98), b"x" * 32),
    ]
    values = [b"nonsense", b"", *messages([forged[1], forged[2]])]
    assert await rig.feed.take([None, *values])
    assert rig.feed.unreadable == 3
    assert rig.status.dropped == 2
    # One whose bytes differ from its hash is read from the store instead.
    assert await rig.feed.take(messages([forged[0]]))
    await eventually(lambda: idle(rig))
    assert (await parcels.saga(parcel)).remembered["lorry"] == "red"


async def test_an_event_too_large_for_a_message_is_fetched(parcels: World) -> None:
    parcel = await parcels.send(lorry="r" * 5000)
    rig = await parcels.rig()
    (value,) = messages(logged(parcels), event_bytes_max=1000, batch_bytes_max=900)
    assert len(value) < 2000
    assert await rig.feed.take([value])
    await eventually(lambda: all_in(parcels, [parcel]))


async def test_without_kafka_everything_comes_a_moment_later(parcels: World) -> None:
    sent = [await parcels.send() for _ in range(10)]
    rigs = [await parcels.rig(), await parcels.rig()]
    async with rigs[0].running(), rigs[1].running():
        await eventually(lambda: all_in(parcels, sent))
        for each in sent:
            await parcels.recall(each)
        await eventually(lambda: all_in(parcels, sent, "ended"))
        assert [each.status.is_healer for each in rigs].count(True) == 1
        await eventually(lambda: _has_floor(parcels, len(logged(parcels)) - 30))
    assert heard_in_order(parcels)
    assert sum(each.status.healed for each in rigs) >= 20


def _has_floor(parcels: World, position: int) -> bool:
    return kept(parcels).get(Partition("", 0), 0) >= position


async def test_the_healer_is_replaced_when_it_ends(parcels: World) -> None:
    first, second = await parcels.rig(), await parcels.rig()
    async with second.running():
        async with first.running():
            await eventually(lambda: _heals(first, second))
        parcel = await parcels.send()
        await eventually(lambda: all_in(parcels, [parcel]))
        assert second.status.is_healer


def _heals(*rigs: Rig) -> bool:
    return any(each.status.is_healer for each in rigs)


async def test_the_healer_leaves_alone_a_partition_that_comes_on(parcels: World) -> None:
    """Another worker has more than it can do: it is not done twice."""
    parcel = await parcels.send()
    for _ in range(25):
        await parcels.recall(parcel)
    # Each comes long before the partition would be late, and all of them take longer than that.
    busy, idle_one = await parcels.rig(), await parcels.rig(late_s=3.0)
    values = of_interest(busy, messages(logged(parcels)))
    async with idle_one.running():
        for value in values:
            assert await busy.feed.take([value])
            await eventually(lambda: idle(busy))
            await busy.feed.save()
            await asyncio.sleep(0.2)
    assert idle_one.status.healed <= 1


async def test_the_healer_leaves_alone_what_is_under_way_here(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig(late_s=0.05)
    go_on = asyncio.Event()

    async def wait(_: object) -> None:
        await go_on.wait()

    rig.bus.before = wait
    async with rig.running():
        assert await rig.feed.take(messages(logged(parcels)))
        await asyncio.sleep(0.5)
        assert rig.status.healed == 0
        assert rig.positions.floor == 0
        go_on.set()
        await eventually(lambda: all_in(parcels, [parcel]))
    assert len(rig.bus.sent) == 2


async def test_a_wiped_kafka_that_begins_anew_repeats_and_changes_nothing(parcels: World) -> None:
    sent = [await parcels.send() for _ in range(5)]
    rig = await parcels.rig()
    values = messages(logged(parcels))
    assert await rig.feed.take(values)
    await eventually(lambda: all_in(parcels, sent))
    count = len(parcels.history())
    assert await rig.feed.take(values)
    await parcels.recall(sent[0])
    assert await rig.feed.take(messages(logged(parcels)))
    await eventually(lambda: all_in(parcels, sent[:1], "ended"))
    assert len([each for each in parcels.history() if each[0] == "noticed"]) == 6
    assert len(parcels.history()) > count


async def test_what_it_was_doing_when_it_was_told_to_stop_comes_again(parcels: World) -> None:
    sent = [await parcels.send() for _ in range(3)]
    rig = await parcels.rig(pauses_s=(0.01,) * 1000)

    async def never(_: object) -> None:
        await asyncio.sleep(60)

    rig.bus.before = never
    async with rig.running():
        assert await rig.feed.take(messages(logged(parcels)))
        await asyncio.sleep(0.1)
        rig.feed.stop()
        rig.delivery.stop()
        await rig.feed.drained(0.1)
        assert not rig.feed._in_flight
    assert kept(parcels) == {}
    other = await parcels.rig()
    async with other.running():
        await eventually(lambda: all_in(parcels, sent))


def test_a_track_moves_past_what_is_done_in_any_order() -> None:
    track = Track(10)
    for position in (11, 14, 20):
        track.accept(position)
    track.done(14)
    assert (track.dealt, track.accepted) == (10, 20)
    assert track.is_done(14)
    assert not track.is_done(11)
    track.done(11)
    assert track.dealt == 14
    track.skip_to(30)
    assert (track.dealt, track.accepted) == (14, 30), "20 is under way"
    track.done(20)
    assert track.dealt == 20
    track.skip_to(40)
    assert track.dealt == 40
    track.skip_to(5)
    assert track.accepted == 40


async def test_positions_only_rise_whoever_saves_them(parcels: World) -> None:
    rig = await parcels.rig()
    here = Partition("erp.test.parcel", 1)
    ahead, behind = Positions(rig.pool, GROUP), Positions(rig.pool, GROUP)
    for positions, position in ((ahead, 20), (behind, 10)):
        track = positions.track(here)
        track.accept(position)
        track.done(position)
        await positions.save()
    assert kept(parcels) == {here: 20}
    await behind.load()
    assert behind.track(here).accepted == 20
    assert behind.is_dealt_with(here, 20)
    await ahead.raise_floor(50)
    await behind.load()
    assert behind.track(here).dealt == 50
    await behind.raise_floor(40)
    assert kept(parcels)[Partition("", 0)] == 50
