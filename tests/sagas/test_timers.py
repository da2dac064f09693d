"""Timers: due in time, heard of once, whoever dies and however many look."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sagas.base import Memory, Reaction, Saga
from sagas.timers import Timer
from tests.sagas.parcels import Courier, Parcel
from tests.sagas.test_runner import hear_all
from tests.sagas.world import Rig, World
from tests.waiting import eventually

pytestmark = pytest.mark.integration


async def ended(parcels: World, parcels_sent: list[Any], how: str = "nobody opened") -> bool:
    return all([(await parcels.saga(each)).ended == how for each in parcels_sent])


def timers(parcels: World) -> list[tuple[Any, ...]]:
    return parcels.rows("SELECT name, due_at, error FROM erp.saga_timers ORDER BY due_at")


async def test_a_timer_comes_in_time_and_once_with_two_workers(parcels: World) -> None:
    sent = [await parcels.send(patience_s=1.0) for _ in range(20)]
    rigs = [await parcels.rig(claim_s=30), await parcels.rig(claim_s=30)]
    await hear_all(rigs[0], parcels.events())
    assert len(timers(parcels)) == 20
    # What came due before any worker ran is late by no fault of theirs.
    ((began,),) = parcels.rows("SELECT clock_timestamp()")
    async with rigs[0].running("alarm"), rigs[1].running("alarm"):
        await eventually(lambda: ended(parcels, sent))
        await asyncio.sleep(0.3)
    kinds = [kind for kind, _ in parcels.history()]
    assert kinds.count("timed_out") == 20
    late = parcels.rows(
        "SELECT max(extract(epoch FROM recorded_at "
        "           - greatest((convert_from(data, 'UTF8')::json->>'due_at')::timestamptz, %s))) "
        "FROM erp.events WHERE type = 'sagas.test_courier.timed_out'",
        began,
    )[0][0]
    assert 0 <= late < 10
    assert timers(parcels) == []
    assert await parcels.loaded() == ()
    assert sum(each.status.timers for each in rigs) == 20


async def test_it_outlives_a_restart(parcels: World) -> None:
    parcel = await parcels.send(patience_s=0.5)
    await hear_all(await parcels.rig(), parcels.events())
    await asyncio.sleep(0.6)
    async with (await parcels.rig()).running("alarm"):
        await eventually(lambda: ended(parcels, [parcel]))


async def test_the_claims_of_a_dead_worker_end(parcels: World) -> None:
    parcel = await parcels.send(patience_s=0.0)
    dead, other = await parcels.rig(claim_s=3.0), await parcels.rig()
    await hear_all(dead, parcels.events())
    (claimed,) = await dead.timers.claim([Courier.TOPIC], 10)
    assert await other.timers.claim([Courier.TOPIC], 10) == []
    assert claimed.saga_id == (await parcels.saga(parcel)).id
    async with other.running("alarm"):
        await eventually(lambda: ended(parcels, [parcel]))


async def test_a_claim_is_kept_up_while_it_is_worked_on(parcels: World) -> None:
    parcel = await parcels.send(patience_s=0.0)
    slow, other = await parcels.rig(claim_s=2.0), await parcels.rig(claim_s=2.0)
    await hear_all(slow, parcels.events())

    go_on = asyncio.Event()

    async def wait(_: object) -> None:
        await go_on.wait()

    slow.bus.before = wait
    async with slow.running("alarm"):
        await eventually(lambda: _claimed(slow))
        assert await other.timers.claim([Courier.TOPIC], 10) == []
        await asyncio.sleep(3)
        assert await other.timers.claim([Courier.TOPIC], 10) == []
        go_on.set()
        await eventually(lambda: ended(parcels, [parcel]))
    assert timers(parcels) == []


def _claimed(rig: Rig) -> bool:
    return bool(rig.alarm._ringing)


async def test_claimed_twice_it_is_heard_of_once(parcels: World) -> None:
    parcel = await parcels.send(patience_s=0.0)
    rigs = [await parcels.rig(), await parcels.rig()]
    await hear_all(rigs[0], parcels.events())
    saga = await parcels.saga(parcel)
    timer = Timer(saga.id, "patience", Courier.TOPIC, parcels.tenant, saga.timers["patience"])
    await asyncio.gather(*(rig.delivery.wake(timer) for rig in rigs))
    assert [kind for kind, _ in parcels.history()].count("timed_out") == 1


async def test_who_knew_the_saga_before_wakes_it_as_it_is_now(parcels: World) -> None:
    parcel = await parcels.send()
    await parcels.sign(parcel)
    sent, signed = parcels.events()
    knew_before, other = await parcels.rig(), await parcels.rig()
    await hear_all(knew_before, [signed])
    await parcels.change_lorry(gate_is_closed=True)
    await hear_all(other, [sent])
    await parcels.change_lorry()
    async with knew_before.running("alarm"):
        await eventually(parcels.loaded)


async def test_what_is_older_than_what_is_set_changes_nothing(parcels: World) -> None:
    parcel = await parcels.send(patience_s=60)
    rig = await parcels.rig()
    await hear_all(rig, parcels.events())
    saga = (await parcels.saga(parcel)).editable_copy()
    saga.version -= 1
    saga.timers = {"patience": datetime(2020, 1, 1, tzinfo=UTC)}
    await rig.timers.set(saga, parcels.tenant)
    await rig.timers.clear(saga, ["patience"])
    ((_, due, _),) = timers(parcels)
    assert due > datetime.now(UTC) + timedelta(seconds=30)


async def test_a_row_that_is_left_over_is_passed_over(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig()
    await hear_all(rig, parcels.events())
    saga = (await parcels.saga(parcel)).editable_copy()
    saga.timers = {"patience": datetime(2020, 1, 1, tzinfo=UTC)}
    await rig.timers.set(saga, parcels.tenant)
    async with rig.running("alarm"):
        await eventually(lambda: _none_left(parcels))
    assert (await parcels.saga(parcel)).status == "resting"


def _none_left(parcels: World) -> bool:
    return timers(parcels) == []


class Fragile(Saga):
    """Breaks when its timer comes."""

    TOPIC = "sagas.test_fragile"
    STARTS = (Parcel.Sent,)

    @classmethod
    def keys(cls, happened: Any) -> list[str]:
        return [str(happened.stream_id)]

    def react(self, memory: Memory, heard: Any) -> Reaction:
        return Reaction(timers={"break": heard.event and heard.at})


async def test_one_that_cannot_be_dealt_with_says_why_and_stays(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig(Fragile)
    (event,) = parcels.events()
    await rig.runner.hear(Fragile, event)
    async with rig.running("alarm"):
        await eventually(lambda: _has_failed(rig))
    ((name, _, error),) = timers(parcels)
    assert name == "break"
    assert error.startswith("AttributeError: ")
    assert (
        await rig.store.load_current(Fragile, Fragile.id_of(parcels.tenant, str(parcel)), parcels.tenant)
    ).timers


def _has_failed(rig: Rig) -> bool:
    return rig.status.timer_failures > 0


async def test_postgres_may_be_gone_for_a_while(parcels: World) -> None:
    parcel = await parcels.send(patience_s=0.3)
    rig = await parcels.rig()
    await hear_all(rig, parcels.events())
    async with rig.running("alarm"):
        for _ in range(3):
            parcels.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename IN ('erp_saga', 'erp_app') AND datname = current_database()"
            )
            await asyncio.sleep(0.2)
        await eventually(lambda: ended(parcels, [parcel]))
