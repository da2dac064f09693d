"""What a saga cannot deal with parks its stream, in order, and nothing else."""

import asyncio
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.leaf import StoredEvent
from sagas.base import Happened, Memory, Reaction, Saga, Step
from sagas.dead_letters import Letter, Parked
from tests.sagas.parcels import Courier, Parcel, Ring
from tests.sagas.world import Rig, World
from tests.waiting import eventually

pytestmark = pytest.mark.integration


class Picky(Saga):
    """Rings for each event of a parcel; breaks at those of parcels that it does not like."""

    TOPIC = "sagas.test_picky"
    STARTS = (Parcel.Sent, Parcel.Recalled)
    dislikes: ClassVar[set[UUID]] = set()

    @classmethod
    def keys(cls, happened: Happened) -> list[str]:
        # A saga an event: streams are kept in order all the same.
        return [str(happened.event_id)]

    def react(self, memory: Memory, heard: Any) -> Reaction:
        if isinstance(heard, Happened):
            if heard.stream_id in self.dislikes and isinstance(heard.event, Parcel.Sent):
                raise ValueError("not this one")
            return Reaction(steps=[Step("ring", Ring(parcel=f"{heard.stream_id}"))])
        return Reaction()


@pytest.fixture(autouse=True)
def _likes_everything() -> None:
    Picky.dislikes = set()


async def deliver(rig: Rig, events: list[StoredEvent]) -> None:
    for event in events:
        await rig.delivery.deliver(event)


def rung(parcels: World) -> list[str]:
    """For which parcels somebody rang, in order."""
    rows = parcels.rows(
        "SELECT convert_from(data, 'UTF8')::json->>'parcel' FROM erp.events "
        "WHERE type = 'test.door.rung' ORDER BY position"
    )
    return [row[0] for row in rows]


async def three_events(parcels: World) -> tuple[UUID, UUID]:
    """One parcel that is sent and recalled, and another that is sent."""
    bad = await parcels.send()
    good = await parcels.send()
    await parcels.recall(bad)
    return bad, good


async def test_its_stream_waits_behind_it_and_the_rest_goes_on(parcels: World) -> None:
    bad, good = await three_events(parcels)
    Picky.dislikes = {bad}
    rig = await parcels.rig(Picky)
    await deliver(rig, parcels.events())
    assert rung(parcels) == [str(good)]
    first, behind = await rig.letters.list()
    assert (first.stream_id, first.version, first.type, first.tries) == (bad, 1, "test.parcel.sent", 1)
    assert first.error == "ValueError: not this one"
    assert (behind.stream_id, behind.version, behind.error, behind.tries) == (bad, 2, None, 0)
    assert await rig.letters.parked() == {Parked(Picky.TOPIC, bad)}
    assert await rig.letters.count() == 2


async def test_a_retry_goes_on_in_order(parcels: World) -> None:
    bad, good = await three_events(parcels)
    Picky.dislikes = {bad}
    rig = await parcels.rig(Picky)
    await deliver(rig, parcels.events())
    first, behind = await rig.letters.list()
    async with rig.running("healer"):
        assert await rig.letters.retry(behind.letter), "any letter stands for its stream"
        await eventually(lambda: _tried(rig, first, 2))
        assert not any(each.retry for each in await rig.letters.list())
        Picky.dislikes = set()
        assert await rig.letters.retry(first.letter)
        await eventually(lambda: _count(rig, 0))
    assert rung(parcels) == [str(good), str(bad), str(bad)]
    settled = await rig.letters.list(settled_too=True)
    assert [each.settled for each in settled] == ["retried", "retried"]
    assert not await rig.letters.retry(first.letter)
    # What comes now is not held up any more.
    await parcels.recall(bad)
    await deliver(rig, parcels.events()[-1:])
    assert rung(parcels)[-1] == str(bad)


async def _tried(rig: Rig, letter: Letter, times: int) -> bool:
    found = await rig.letters.find(letter.letter)
    return found is not None and found.tries >= times


async def _count(rig: Rig, count: int) -> bool:
    return await rig.letters.count() == count


async def test_a_discarded_event_is_left_out_and_the_rest_goes_on(parcels: World) -> None:
    bad, good = await three_events(parcels)
    Picky.dislikes = {bad}
    rig = await parcels.rig(Picky)
    await deliver(rig, parcels.events())
    first, _ = await rig.letters.list()
    assert await rig.letters.discard(first.letter, by="olga", reason="sent by mistake")
    assert not await rig.letters.discard(first.letter, by="olga", reason="again")
    async with rig.running("healer"):
        await eventually(lambda: _count(rig, 0))
        # Nothing is known of positions here, so all events have come once more.
        await eventually(lambda: _floor(rig, 3))
    assert rung(parcels) == [str(good), str(bad)]
    told = await rig.letters.find(first.letter)
    assert told is not None
    assert (told.settled, told.settled_by, told.reason) == ("discarded", "olga", "sent by mistake")
    assert await rig.letters.find(0) is None


def _floor(rig: Rig, position: int) -> bool:
    return rig.positions.floor >= position


async def test_a_discard_needs_a_reason(parcels: World) -> None:
    bad, _ = await three_events(parcels)
    Picky.dislikes = {bad}
    rig = await parcels.rig(Picky)
    await deliver(rig, parcels.events())
    first, _ = await rig.letters.list()
    with pytest.raises(psycopg.errors.CheckViolation):
        await rig.letters.discard(first.letter, by="olga", reason="")


async def test_what_another_worker_parked_is_parked_here(parcels: World) -> None:
    bad, _ = await three_events(parcels)
    Picky.dislikes = {bad}
    sent, _, recalled = parcels.events()
    first, second = await parcels.rig(Picky), await parcels.rig(Picky)
    await deliver(first, [sent])
    await second.delivery.look()
    await deliver(second, [recalled])
    assert [each.version for each in await second.letters.list()] == [1, 2]
    # And what it unparked is not parked here any more, although nobody has looked.
    Picky.dislikes = set()
    letters = await first.letters.list()
    await first.delivery.retry(Parked(Picky.TOPIC, bad), first.log.at)
    assert all([await _tried(first, each, each.tries + 1) for each in letters])
    await parcels.recall(bad)
    await deliver(second, parcels.events()[-1:])
    assert len([each for each in rung(parcels) if each == str(bad)]) == 3


async def test_nothing_is_lost_between_the_last_letter_and_the_next_event(parcels: World) -> None:
    """A stream is unparked while events of it come in: each is heard once, in order."""
    bad = await parcels.send()
    for _ in range(30):
        await parcels.recall(bad)
    Picky.dislikes = {bad}
    retrier, feeder = await parcels.rig(Picky), await parcels.rig(Picky)
    events = parcels.events()
    await deliver(retrier, events[:5])
    await feeder.delivery.look()
    Picky.dislikes = set()
    await asyncio.gather(
        retrier.delivery.retry(Parked(Picky.TOPIC, bad), retrier.log.at), deliver(feeder, events[5:])
    )
    while (await retrier.letters.count()) > 0:
        await retrier.delivery.retry(Parked(Picky.TOPIC, bad), retrier.log.at)
    heard = parcels.rows(
        "SELECT (convert_from(data, 'UTF8')::json->'cause'->>'version')::int FROM erp.events "
        "WHERE type = 'sagas.test_picky.noticed' ORDER BY position"
    )
    assert [row[0] for row in heard] == list(range(1, 32))


async def test_an_event_of_the_saga_that_nobody_knows_any_more_is_a_dead_letter(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig()
    saga_id = Courier.id_of(parcels.tenant, str(parcel))
    from eventstore.request import Check, NewEvent
    from tests.eventstore.requests import call, new_request

    unknown = NewEvent(
        uuid4(), Courier.TOPIC, saga_id, 1, f"{Courier.TOPIC}.forgotten", 1, None, "json", b"{}"
    )
    with psycopg.connect(parcels.owner_url, autocommit=True) as connection:
        call(connection, new_request(parcels.tenant, unknown, checks=[Check(saga_id, Courier.TOPIC, 0)]))
    await deliver(rig, parcels.events("test.parcel"))
    (letter,) = await rig.letters.list()
    assert letter.error is not None
    assert "forgotten" in letter.error


async def test_other_sagas_hear_of_it_all_the_same(parcels: World) -> None:
    bad, _ = await three_events(parcels)
    Picky.dislikes = {bad}
    rig = await parcels.rig(Picky, Courier)
    await deliver(rig, parcels.events())
    assert (await parcels.saga(bad)).ended == "recalled"
    assert {each.saga_type for each in await rig.letters.list()} == {Picky.TOPIC}
