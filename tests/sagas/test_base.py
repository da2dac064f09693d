"""A saga by itself: what it makes of what it hears, and that its events tell all of it again."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from domain.shared.aggregate import Aggregate
from eventstore.codec import Codec, StoredFields
from sagas import steps
from sagas.base import NOTHING, Happened, Memory, Reaction, Saga, Step
from sagas.events import Cause, HeldEvent
from sagas.steps import StepStatus
from tests.sagas.parcels import AGGREGATES, Courier, Load, Parcel, Receipt

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TENANT = UUID(int=1)
PARCEL = UUID(int=7)
CODEC = Codec(AGGREGATES)


def happened(
    event_class: type[Aggregate.Event], version: int = 1, stream: UUID = PARCEL, **fields: Any
) -> Happened:
    event = event_class(originator_id=stream, originator_version=version, timestamp=NOON, **fields)
    return Happened(
        event=event,
        event_id=uuid4(),
        tenant=TENANT,
        stream_type=event_class.TOPIC.rpartition(".")[0],
        stream_id=stream,
        version=version,
        position=version,
        at=NOON,
        correlation_id="request-1",
    )


def sent(patience_s: float | None = None) -> Happened:
    return happened(Parcel.Sent, lorry="red", patience_s=patience_s)


def courier() -> Courier:
    return Courier.blank(Courier.id_of(TENANT, str(PARCEL)))


def started(patience_s: float | None = None) -> Courier:
    saga = courier()
    assert saga.notice(sent(patience_s), str(PARCEL))
    return saga


def done(saga: Saga, number: int, **told: Any) -> bool:
    step = steps.find(saga.steps, number)
    return saga.step_done(step, stream_id=uuid4(), version=1, position=9, at=NOON, **told)


def refused(saga: Saga, number: int) -> bool:
    step = steps.find(saga.steps, number)
    return saga.step_refused(step, code="test.lorry_full", detail="Full.", data={"places": 1}, at=NOON)


def waits(saga: Saga, number: int, detail: str = "Closed.") -> bool:
    step = steps.find(saga.steps, number)
    return saga.step_waits(step, code="test.gate_closed", detail=detail, data={}, at=NOON)


def statuses(saga: Saga) -> list[str]:
    return [f"{each.asked.name} {each.status}" for each in saga.steps]


def replayed(saga: Saga) -> Saga:
    """The same saga from its events, by way of the log's bytes."""
    again = type(saga).blank(saga.id)
    for event in saga.pending_events:
        encoded = CODEC.encode(event)  # type: ignore[arg-type]
        fields = StoredFields(
            event.originator_version, encoded.type, encoded.schema_version, None, None, encoded.data
        )
        CODEC.decode(saga.id, fields).mutate(again)
    return again


def last_event(saga: Saga) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(CODEC.encode(saga.pending_events[-1]).data)  # type: ignore[arg-type]
    return data


def test_an_event_leads_to_steps_that_are_recorded_with_it() -> None:
    saga = started()
    assert statuses(saga) == ["load asked", "ring asked"]
    assert saga.status == "running"
    assert saga.remembered == {"lorry": "red"}
    told = last_event(saga)
    assert told["status"] == "running"
    assert told["cause"]["type"] == "test.parcel.sent"
    assert told["cause"]["correlation_id"] == "request-1"
    assert told["steps"][0]["sent"] == {
        "command": "test.load",
        "data": {"lorry": "red", "parcel": str(PARCEL)},
    }
    assert told["steps"][0]["undo"]["command"] == "test.unload"
    assert told["remembered"] == {"lorry": "red"}


def test_what_comes_again_and_what_is_older_changes_nothing() -> None:
    saga = courier()
    assert saga.notice(happened(Parcel.Sent, 3, lorry="red", patience_s=None), "k")
    for version in (3, 2, 1):
        assert not saga.notice(happened(Parcel.Recalled, version), "k")
    assert saga.version == 1


def test_outcomes_are_heard_and_the_rest_goes_on() -> None:
    saga = started()
    assert done(saga, 1)
    assert statuses(saga) == ["load done", "ring asked"]
    assert done(saga, 2)
    assert saga.status == "resting"
    assert not done(saga, 2), "its outcome is known"
    assert not refused(saga, 2)
    assert not waits(saga, 2)


def test_a_refused_step_drops_those_behind_it() -> None:
    saga = started(patience_s=60)
    assert refused(saga, 1)
    assert statuses(saga) == ["load refused", "ring dropped"]
    assert (saga.status, saga.ended, saga.timers) == ("ended", "no room", {})
    assert last_event(saga)["dropped"] == [2]
    assert last_event(saga)["data"] == {"places": 1}


def test_a_step_that_waits_holds_up_those_behind_it() -> None:
    saga = started()
    assert waits(saga, 1)
    assert saga.status == "waiting"
    assert [each.asked.name for each in steps.heads(saga.steps)] == ["load"]
    assert not waits(saga, 1), "the same reason is no news"
    assert waits(saga, 1, "Closed for good.")
    assert saga.steps[0].tries == 2
    assert done(saga, 1)
    assert saga.status == "running"


def test_what_is_done_can_be_undone_once_the_last_first() -> None:
    saga = started()
    done(saga, 1)
    assert saga.notice(happened(Parcel.Recalled, 2), str(PARCEL))
    assert statuses(saga) == ["load done", "ring dropped", "undo_load asked"]
    assert saga.steps[2].asked.compensates == 1
    assert saga.undo() == [], "it is under way"
    refused(saga, 3)
    assert [each.name for each in saga.undo()] == ["undo_load"], "it was not to be"


def test_keys_of_commands_stay_the_same_and_differ_by_cause_step_and_attempt() -> None:
    saga, twin = courier(), courier()
    cause = sent()
    saga.notice(cause, "k")
    twin.notice(cause, "k")
    keys = [each.key(saga.id) for each in saga.steps]
    assert keys == [each.key(twin.id) for each in twin.steps]
    assert len(set(keys)) == 2
    assert all(UUID(key).version == 5 for key in keys)
    waits(saga, 1)
    assert saga.steps[0].key(saga.id) == keys[0]


class Stubborn(Saga):
    """Tries again whatever is refused."""

    TOPIC = "sagas.test_stubborn"
    STARTS = (Parcel.Sent,)

    def react(self, memory: Memory, heard: object) -> Reaction:
        return Reaction(steps=[Step("load", Load(lorry="red", parcel="p"), tries_max=2)])


def test_the_same_step_once_more_is_another_attempt() -> None:
    saga = Stubborn.blank(uuid4())
    saga.notice(sent(), "k")
    refused(saga, 1)
    assert [each.asked.attempt for each in saga.steps] == [1, 2]
    assert saga.steps[0].key(saga.id) != saga.steps[1].key(saga.id)


def test_tries_that_count_are_recorded_each() -> None:
    saga = Stubborn.blank(uuid4())
    saga.notice(sent(), "k")
    assert waits(saga, 1)
    assert waits(saga, 1)
    assert saga.steps[0].tries == 2


def test_a_timer_is_heard_of_once_and_only_as_it_is_set() -> None:
    saga = started(patience_s=60)
    due = NOON + timedelta(seconds=60)
    assert saga.timers == {"patience": due}
    assert not saga.time_out("patience", due - timedelta(seconds=1), NOON)
    assert not saga.time_out("other", due, NOON)
    assert saga.time_out("patience", due, due)
    assert not saga.time_out("patience", due, due)
    assert (saga.timers, saga.ended) == ({}, "nobody opened")


def test_an_event_that_comes_too_early_is_held() -> None:
    saga = courier()
    receipt = happened(Receipt.Signed, stream=uuid4(), parcel=PARCEL)
    held = HeldEvent(
        cause=Cause(
            receipt.event_id, "test.receipt.signed", "test.receipt", receipt.stream_id, 1, 1, NOON, "c"
        ),
        schema_version=1,
        series=None,
        number=None,
        data={"parcel": str(PARCEL)},
        actor="somebody",
    )
    assert saga.hold(receipt, held, "k")
    assert not saga.hold(receipt, held, "k")
    assert saga.status == "not_started"
    assert saga.notice(sent(), "k")
    saga.notice_held(receipt)
    assert (saga.held, saga.status) == ((), "running")
    assert saga.remembered["signed"] is True
    assert replayed(saga).state() == saga.state()


def test_aborted_it_does_nothing_more() -> None:
    saga = started(patience_s=60)
    waits(saga, 1)
    assert saga.abort(by="olga", reason="by phone", at=NOON)
    assert not saga.abort(by="olga", reason="again", at=NOON)
    assert statuses(saga) == ["load dropped", "ring dropped"]
    assert (saga.status, saga.timers) == ("aborted", {})
    assert not saga.notice(happened(Parcel.Recalled, 2), "k")
    assert not saga.hold(happened(Parcel.Recalled, 2), None, "k")  # type: ignore[arg-type]
    assert not saga.time_out("patience", NOON + timedelta(seconds=60), NOON)


def test_an_ended_saga_still_hears() -> None:
    saga = started()
    done(saga, 1)
    done(saga, 2)
    saga.notice(happened(Receipt.Signed, stream=uuid4(), parcel=PARCEL), "k")
    assert saga.status == "ended"
    assert saga.notice(happened(Parcel.Recalled, 2), "k")
    assert saga.ended == "delivered"


@pytest.mark.parametrize("steps_done", [0, 1, 2])
def test_its_events_tell_all_of_it_again(steps_done: int) -> None:
    saga = started(patience_s=5)
    waits(saga, 1)
    for number in range(1, steps_done + 1):
        done(saga, number)
    saga.notice(happened(Parcel.Recalled, 2), "k")
    assert replayed(saga).state() == saga.state()
    kept = CODEC.decode_state(Courier, saga.id, saga.version, CODEC.encode_state(saga))
    assert kept.state() == saga.state()
    assert kept.status == saga.status


class Careless(Saga):
    """Sets a timer to an instant that is none."""

    TOPIC = "sagas.test_careless"
    STARTS = (Parcel.Sent,)

    def react(self, memory: Memory, heard: object) -> Reaction:
        return Reaction(timers={"t": datetime(2026, 1, 1)})  # noqa: DTZ001


def test_a_timer_needs_an_offset() -> None:
    with pytest.raises(ValueError, match="without an offset"):
        Careless.blank(uuid4()).notice(sent(), "k")


def test_a_saga_that_says_nothing_has_nothing_to_do() -> None:
    assert Reaction() == NOTHING
    with pytest.raises(NotImplementedError):
        Saga.keys(sent())
    with pytest.raises(NotImplementedError):
        Saga.blank(uuid4()).react(Memory(), sent())


def test_each_class_has_events_under_its_own_names() -> None:
    assert sorted(each.TOPIC for each in Courier.event_types()) == [
        f"sagas.test_courier.{name}"
        for name in ("aborted", "held", "noticed", "step_done", "step_refused", "step_waits", "timed_out")
    ]


def test_dropped_is_a_status_of_steps() -> None:
    assert StepStatus("dropped") not in steps.OPEN


class Loader(Saga):
    """Loads two lorries at once: neither waits for the other."""

    TOPIC = "sagas.test_loader"
    STARTS = (Parcel.Sent,)

    def react(self, memory: Memory, heard: Any) -> Reaction:
        match heard:
            case Happened():
                loads = [("red", "left"), ("red", "left"), ("blue", "right"), ("blue", "right")]
                return Reaction(
                    steps=[Step("load", Load(lorry=name, parcel="1"), lane=lane) for name, lane in loads]
                )
        return NOTHING


def test_lanes_do_not_wait_for_one_another() -> None:
    saga = Loader.blank(Loader.id_of(TENANT, str(PARCEL)))
    assert saga.notice(sent(), str(PARCEL))
    assert [each.asked.number for each in steps.heads(saga.steps)] == [1, 3]
    assert waits(saga, 1)
    assert done(saga, 3)
    assert [each.asked.number for each in steps.heads(saga.steps)] == [1, 4]
    assert refused(saga, 1)
    assert [each.status for each in saga.steps] == ["refused", "dropped", "done", "asked"]
