"""Sagas carried out on a real log: once, in order, whatever comes twice, too early or breaks off."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from commands.bus import Command
from domain.shared.errors import Unavailable
from eventstore.leaf import StoredEvent
from sagas.base import Happened, Memory, Reaction, Saga, Step, StepRefused
from sagas.timers import RETRY
from tests.sagas.parcels import Courier, GateClosed, Load, Parcel, Ring
from tests.sagas.world import Rig, World
from tests.waiting import eventually

pytestmark = pytest.mark.integration


class Hasty(Saga):
    """Tries three times to ring."""

    TOPIC = "sagas.test_hasty"
    STARTS = (Parcel.Sent,)

    @classmethod
    def keys(cls, happened: Happened) -> list[str]:
        return [str(happened.stream_id)]

    def react(self, memory: Memory, heard: Any) -> Reaction:
        if isinstance(heard, StepRefused):
            return Reaction(end=heard.code)
        if isinstance(heard, Happened):
            return Reaction(steps=[Step("ring", Ring(parcel="p"), tries_max=3)])
        return Reaction(end="rung")


class Crash(BaseException):
    """The process is gone: nothing may catch it on its way."""


async def hear_all(rig: Rig, events: list[StoredEvent]) -> None:
    """As a feed would, one after the other."""
    for event in events:
        if rig.interests.of(event.type):
            await rig.runner.hear(Courier, event)


def statuses(saga: Courier) -> list[str]:
    return [f"{each.asked.name} {each.status}" for each in saga.steps]


async def test_what_is_decided_is_carried_out_and_recorded(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig()
    await hear_all(rig, parcels.events())
    saga = await parcels.saga(parcel)
    assert statuses(saga) == ["load done", "ring done"]
    assert saga.status == "resting"
    assert saga.remembered == {"lorry": "red", "rung": 1}
    assert await parcels.loaded() == (str(parcel),)
    kinds = [kind for kind, _ in parcels.history()]
    assert kinds == ["noticed", "step_done", "step_done"]
    # Two appends: the decision, and what became of both steps.
    assert len({bytes(each.metadata) for each in parcels.events(Courier.TOPIC)}) == 1
    (sent,) = parcels.rows(
        "SELECT convert_from(metadata, 'UTF8')::json FROM erp.events WHERE type = 'test.lorry.loaded'"
    )
    assert sent[0]["actor"] == "erp-saga"
    assert sent[0]["correlation_id"] == "request-1"
    assert sent[0]["causation_id"] == str(parcels.events("test.parcel")[0].event_id)


async def test_sagas_that_wait_for_a_gateway_hold_up_none_of_another_type(parcels: World) -> None:
    await parcels.send()
    (sent,) = parcels.events()
    rig = await parcels.rig(Courier, Hasty, at_once_max=1)
    answered = asyncio.Event()

    async def slow(command: Command) -> None:
        if isinstance(command, Load):
            await answered.wait()

    rig.bus.before = slow
    waiting = asyncio.create_task(rig.runner.hear(Courier, sent))
    await eventually(lambda: len(rig.bus.sent) == 1)
    async with asyncio.timeout(20):
        await rig.runner.hear(Hasty, sent)
    assert not waiting.done()
    answered.set()
    await waiting


async def test_an_event_that_comes_again_changes_nothing(parcels: World) -> None:
    parcel = await parcels.send()
    events = parcels.events()
    rig, other = await parcels.rig(), await parcels.rig()
    await hear_all(rig, events)
    version = (await parcels.saga(parcel)).version
    for each in (rig, rig, other):
        await hear_all(each, events)
    assert (await parcels.saga(parcel)).version == version
    assert len(rig.bus.sent) == 2
    assert other.bus.sent == []


async def test_a_receipt_that_comes_first_is_held(parcels: World) -> None:
    parcel = await parcels.send(patience_s=60)
    await parcels.sign(parcel)
    sent, signed = parcels.events()
    rig = await parcels.rig()
    await hear_all(rig, [signed, signed])
    assert (await parcels.saga(parcel)).status == "not_started"
    await hear_all(rig, [sent, signed])
    saga = await parcels.saga(parcel)
    assert (saga.status, saga.ended, saga.timers) == ("ended", "delivered", {})
    assert await parcels.rung(parcel) == 1


async def test_a_refusal_is_heard_of(parcels: World) -> None:
    await parcels.change_lorry(places=0)
    parcel = await parcels.send()
    await hear_all(await parcels.rig(), parcels.events())
    saga = await parcels.saga(parcel)
    assert statuses(saga) == ["load refused", "ring dropped"]
    assert saga.steps[0].code == "test.lorry_full"
    assert saga.steps[0].data == {"places": 0}
    assert await parcels.rung(parcel) == 0


async def test_what_is_recalled_comes_back(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig()
    await hear_all(rig, parcels.events())
    await parcels.recall(parcel)
    await hear_all(rig, parcels.events())
    saga = await parcels.saga(parcel)
    assert statuses(saga) == ["load done", "ring done", "undo_load done"]
    assert await parcels.loaded() == ()


async def test_a_step_waits_for_what_a_person_has_to_mend(parcels: World) -> None:
    await parcels.change_lorry(gate_is_closed=True)
    parcel = await parcels.send()
    rig = await parcels.rig(wait_s=60.0)
    await hear_all(rig, parcels.events())
    saga = await parcels.saga(parcel)
    assert saga.status == "waiting"
    assert (saga.steps[0].code, saga.steps[0].detail) == ("test.gate_closed", "The gate is closed.")
    ((name, due_s),) = parcels.rows(
        "SELECT name, extract(epoch FROM due_at - now()) FROM erp.saga_timers WHERE saga_id = %s", saga.id
    )
    assert name == RETRY
    assert 50 < due_s <= 60
    # What comes meanwhile is heard, and does not try it again.
    sent = len(rig.bus.sent)
    await hear_all(rig, parcels.events())
    assert len(rig.bus.sent) == sent

    async with rig.running("alarm"):
        assert await rig.timers.retry_now(saga.id)
        await eventually(lambda: len(rig.bus.sent) > sent)
        await parcels.change_lorry()
        assert await rig.timers.retry_now(saga.id)
        await eventually(lambda: _is(parcels, parcel, "resting"))
    kinds = [kind for kind, _ in parcels.history()]
    assert kinds.count("step_waits") == 1, "the same reason is recorded once"
    assert await parcels.loaded() == (str(parcel),)
    assert parcels.rows("SELECT name FROM erp.saga_timers") == []
    assert not await rig.timers.retry_now(saga.id)


async def _is(parcels: World, parcel: UUID, status: str) -> bool:
    return bool((await parcels.saga(parcel)).status == status)


async def test_it_waits_and_tries_again_by_itself(parcels: World) -> None:
    await parcels.change_lorry(gate_is_closed=True)
    parcel = await parcels.send()
    rig = await parcels.rig(wait_s=0.2)
    async with rig.running("alarm"):
        await hear_all(rig, parcels.events())
        await asyncio.sleep(0.5)
        assert await _is(parcels, parcel, "waiting")
        await parcels.change_lorry()
        await eventually(lambda: _is(parcels, parcel, "resting"))


async def test_what_passes_by_itself_is_tried_at_once_then_later(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig()
    fails = iter([True, True, True, False, True, False])

    async def fail(command: Command) -> None:
        if isinstance(command, Load) and next(fails):
            raise Unavailable("The lorry cannot be reached.")

    rig.bus.before = fail
    await hear_all(rig, parcels.events())
    saga = await parcels.saga(parcel)
    assert (saga.status, saga.steps[0].code) == ("waiting", "unavailable")
    async with rig.running("alarm"):
        await eventually(lambda: _is(parcels, parcel, "resting"))
    assert await parcels.loaded() == (str(parcel),)


class BridgeClosed(Unavailable):
    """What is beyond it cannot be reached."""


async def test_what_was_waited_for_already_is_not_tried_at_once_again(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig(retry_s=60.0)

    async def fail(_: Command) -> None:
        raise BridgeClosed("No way.")

    rig.bus.before = fail
    await hear_all(rig, parcels.events())
    saga = await parcels.saga(parcel)
    assert (saga.status, saga.steps[0].code, saga.steps[0].detail) == ("waiting", "bridge_closed", "No way.")
    assert len(rig.bus.sent) == 1


async def test_it_is_given_up_after_so_many_tries(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig(Hasty, retry_s=0.05)

    async def fail(_: Command) -> None:
        raise BridgeClosed("No way.")

    rig.bus.before = fail
    async with rig.running("alarm"):
        await rig.runner.hear(Hasty, parcels.events()[0])

        async def ended() -> bool:
            return bool((await rig.store.load_current(Hasty, hasty, parcels.tenant)).ended)

        hasty = Hasty.id_of(parcels.tenant, str(parcel))
        await eventually(ended)
    saga = await rig.store.load_current(Hasty, hasty, parcels.tenant)
    assert saga.ended == "bridge_closed"
    assert len(rig.bus.sent) == 3
    assert saga.steps[0].tries == 3


async def test_a_defect_in_a_handler_makes_the_step_wait(parcels: World) -> None:
    parcel = await parcels.send()
    rig = await parcels.rig(wait_s=60.0)

    async def fail(_: Command) -> None:
        raise ZeroDivisionError

    rig.bus.before = fail
    await hear_all(rig, parcels.events())
    saga = await parcels.saga(parcel)
    assert (saga.status, saga.steps[0].code) == ("waiting", "internal_error")


# Crashes. Every call that reaches the database or the bus is a point at which the process may end, before it
# is made or after.

Call = Callable[..., Awaitable[Any]]


class Breaker:
    """Ends the process at the nth call, before or after it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._at = at
        self._after = after
        self.calls = 0

    def wrap(self, call: Call) -> Call:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            is_here = self.calls == self._at
            if is_here and not self._after:
                raise Crash
            answer = await call(*args, **kwargs)
            if is_here:
                raise Crash
            return answer

        return wrapped

    def stand_in(self, rig: Rig) -> None:
        for part, name in ((rig.store, "append"), (rig.bus, "execute"), (rig.pool, "rows")):
            setattr(part, name, self.wrap(getattr(part, name)))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.timeout(300)
async def test_a_crash_at_any_point_changes_no_outcome(parcels: World, *, after: bool) -> None:
    """A worker dies at its nth call, for every n there is; the next one hears the same events."""
    reached = True
    at = 0
    while reached:
        at += 1
        lorry = f"lorry {at}"
        parcel = await parcels.send(lorry=lorry, patience_s=60)
        await parcels.recall(parcel)
        events = [each for each in parcels.events("test.parcel") if each.stream_id == parcel]
        breaker = Breaker(at, after=after)
        first = await parcels.rig()
        breaker.stand_in(first)
        try:
            await hear_all(first, events)
        except Crash:
            pass
        else:
            reached = False
        await hear_all(await parcels.rig(), events)
        saga = await parcels.saga(parcel)
        assert (saga.status, saga.ended) == ("ended", "recalled"), at
        assert statuses(saga) == ["load done", "ring done", "undo_load done"], at
        assert await parcels.loaded(lorry) == (), at
        assert await parcels.rung(parcel) == 1, at
        count = parcels.rows(
            "SELECT count(*) FROM erp.events WHERE type = 'test.lorry.loaded' AND data LIKE %s",
            f"%{parcel}%".encode(),
        )
        assert count == [(1,)], at
        assert parcels.rows("SELECT name FROM erp.saga_timers WHERE saga_id = %s", saga.id) == []
    assert at > 12, "there are so many points"


async def test_a_timer_that_was_lost_in_a_crash_is_set_when_the_event_comes_again(parcels: World) -> None:
    parcel = await parcels.send(patience_s=60)
    rig = await parcels.rig()

    async def crash(*_: object, **__: object) -> None:
        raise Crash

    rig.timers.set = crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await hear_all(rig, parcels.events())
    assert (await parcels.saga(parcel)).timers
    assert parcels.rows("SELECT name FROM erp.saga_timers") == []
    await hear_all(await parcels.rig(), parcels.events())
    assert [row[0] for row in parcels.rows("SELECT name FROM erp.saga_timers")] == ["patience"]


async def test_two_workers_at_once_do_everything_once(parcels: World) -> None:
    """Both hear every event, in another order of parcels; each lorry is loaded once with each."""
    sent = [await parcels.send() for _ in range(15)]
    for parcel in sent:
        await parcels.sign(parcel)
    for parcel in sent[::3]:
        await parcels.recall(parcel)
    events = [each for each in parcels.events() if each.type != "test.lorry.changed"]
    by_stream: dict[UUID, list[StoredEvent]] = {}
    for each in events:
        by_stream.setdefault(each.stream_id, []).append(each)
    rigs = [await parcels.rig(), await parcels.rig()]

    async def hear_streams(rig: Rig) -> None:
        streams = list(by_stream.values())
        random.shuffle(streams)
        await asyncio.gather(*(hear_all(rig, stream) for stream in streams))

    await asyncio.gather(*(hear_streams(rig) for rig in rigs))
    for parcel in sent:
        saga = await parcels.saga(parcel)
        assert saga.status == "ended"
        assert await parcels.rung(parcel) == (0 if _was_recalled_first(saga) else 1)
    assert sum(rig.status.conflicts for rig in rigs) > 0, "they did meet"
    for kind in ("test.lorry.loaded", "test.door.rung"):
        rows = parcels.rows(
            "SELECT convert_from(data, 'UTF8')::json->>'parcel' FROM erp.events WHERE type = %s", kind
        )
        assert len(rows) == len(set(rows))


def _was_recalled_first(saga: Courier) -> bool:
    return any(each.asked.name == "ring" and each.status == "dropped" for each in saga.steps)


async def test_sagas_go_on_side_by_side_and_one_is_strict(parcels: World) -> None:
    """A slow command holds up its own saga, and no other."""
    slow, quick = await parcels.send(), await parcels.send()
    rig = await parcels.rig()
    go_on = asyncio.Event()

    async def wait(command: Command) -> None:
        if isinstance(command, Ring) and command.parcel == str(slow):
            await go_on.wait()

    rig.bus.before = wait
    await parcels.recall(slow)
    sent, other, recalled = parcels.events()
    first = asyncio.create_task(rig.runner.hear(Courier, sent))
    await eventually(lambda: [type(each) for each in rig.bus.sent] == [Load, Ring])
    second = asyncio.create_task(rig.runner.hear(Courier, recalled))
    await rig.runner.hear(Courier, other)
    assert await _is(parcels, quick, "resting")
    assert not second.done()
    go_on.set()
    await asyncio.gather(first, second)
    assert [str(type(each).__name__) for each in rig.bus.sent if each.parcel == str(slow)] == [  # type: ignore[attr-defined]
        "Load",
        "Ring",
        "Unload",
    ]


def test_the_gate_is_what_is_waited_for() -> None:
    assert GateClosed.code in Courier.WAITS_FOR
