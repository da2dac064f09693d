"""A SELECT throws on what it cannot read, and looks at nothing that it was not asked to read."""

from typing import Any
from uuid import UUID

import pytest

from projections.sagas.tables import EVENTS as TABLE
from tests.projections.shelf import MISSING, Happened, Shelf, without_missing

SAGA = "sagas.order_to_cash"
REACTED: dict[str, Any] = {
    "at": "2026-07-01T12:00:00+00:00",
    "status": "running",
    "remembered": {},
    "steps": [],
    "dropped": [2],
    "timers": {},
    "ended": None,
}
STEP: dict[str, Any] = {"step": 1, "name": "reserve", "attempt": 1, "tries": 1}
WHY: dict[str, Any] = {"code": "finance.period_closed", "detail": "It is closed.", "data": {}}
SHORT: dict[str, Any] = {"at": "2026-07-01T12:00:00+00:00", "status": "waiting"}

NOTHING = [MISSING, None]
STATUSES = [{"status": value} for value in (*NOTHING, "", "open", 1, [])]
DROPPED = [{"dropped": value} for value in (*NOTHING, "none", 1, {})]
NUMBERS = [{"step": value} for value in (*NOTHING, 0, -1, "first", [])]


def texts(*names: str) -> list[dict[str, Any]]:
    return [{name: value} for name in names for value in NOTHING]


CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "noticed": (REACTED | {"key": "o-1"}, [*STATUSES, *DROPPED, *texts("key")]),
    "held": (SHORT | {"key": "o-1", "held": {}}, [*STATUSES, *texts("key")]),
    "step_done": (REACTED | STEP, [*STATUSES, *DROPPED, *NUMBERS, *texts("name")]),
    "step_refused": (
        REACTED | STEP | WHY,
        [*STATUSES, *DROPPED, *NUMBERS, *texts("name", "code", "detail")],
    ),
    "step_waits": (SHORT | STEP | WHY, [*STATUSES, *NUMBERS, *texts("name", "code", "detail")]),
    "timed_out": (REACTED | {"timer": "expiry"}, [*STATUSES, *DROPPED]),
    "aborted": (SHORT | {"by": "alice", "reason": "", "dropped": []}, [*STATUSES, *DROPPED]),
}


def cases() -> tuple[list[Happened], list[Any], list[Any]]:
    """Events one after the other, and which can be read and which cannot."""
    events: list[Happened] = []
    kept: dict[bool, list[Any]] = {True: [], False: []}

    def case(kind: str, data: dict[str, Any] | str, *, readable: bool) -> None:
        told = data if isinstance(data, str) else without_missing(data)
        events.append(event(len(events) + 1, kind, told))
        kept[readable].append(pytest.param(len(events), id=f"{len(events)} {kind}"))

    for kind, (data, spoilt) in CASES.items():
        case(kind, data, readable=True)
        for changes in spoilt:
            case(kind, data | changes, readable=False)
        for text in ("", "{", "[]", "null", "{}"):
            case(kind, text, readable=False)
    return events, kept[False], kept[True]


def event(position: int, kind: str, data: dict[str, Any] | str) -> Happened:
    return Happened(position, UUID(int=1), UUID(int=position), 1, f"{SAGA}.{kind}", data, stream_type=SAGA)


EVENTS, UNREADABLE, READABLE = cases()


@pytest.fixture(scope="module")
def recorded(shelf: Shelf, runner: Any) -> Shelf:
    """All of them in the log copy, the good among the bad."""
    runner.run(shelf.clear())
    runner.run(shelf.record(EVENTS))
    return shelf


@pytest.mark.parametrize("position", UNREADABLE)
def test_it_throws(recorded: Shelf, runner: Any, position: int) -> None:
    assert not runner.run(recorded.can_read(TABLE, position)), EVENTS[position - 1]


@pytest.mark.parametrize("position", READABLE)
def test_it_reads(recorded: Shelf, runner: Any, position: int) -> None:
    """Also that nothing around it is looked at, for that is unreadable."""
    assert runner.run(recorded.can_read(TABLE, position)), EVENTS[position - 1]


def test_what_was_not_asked_for_is_not_looked_at(shelf: Shelf, runner: Any) -> None:
    """Events beyond the range, or discarded, may hold anything."""

    async def project() -> list[dict[str, Any]]:
        await shelf.clear()
        noticed = CASES["noticed"][0]
        await shelf.record([event(1, "noticed", "{"), event(2, "noticed", noticed), event(3, "noticed", "{")])
        await shelf.project(TABLE, 0, 2, {1})
        return await shelf.table(TABLE)

    assert [row["position"] for row in runner.run(project())] == [2]
