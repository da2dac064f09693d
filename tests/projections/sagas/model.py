"""Sagas in plain Python: what happened to them, and what the list has to say about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from projections.sagas.listed import ListedSaga
from tests.projections.shelf import Happened

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Standing:
    """How a saga stands from a position on; `waits` has name and code of steps that wait, by number."""

    position: int
    status: str
    outcome: str | None
    waits: dict[int, tuple[str, str]]


@dataclass
class Saga:
    """One of them."""

    id: UUID
    type: str
    key: str
    standings: list[Standing] = field(default_factory=list)

    @property
    def first(self) -> int:
        return self.standings[0].position

    @property
    def last(self) -> Standing:
        return self.standings[-1]

    def at(self, position: int) -> Standing:
        return next(each for each in reversed(self.standings) if each.position <= position)


@dataclass
class Processes:
    """Of one tenant."""

    tenant: UUID
    events: list[Happened] = field(default_factory=list)
    sagas: list[Saga] = field(default_factory=list)

    def happens(
        self,
        saga: Saga,
        position: int,
        kind: str,
        *,
        status: str,
        step: int = 0,
        code: str = "",
        dropped: Sequence[int] = (),
        outcome: str | None = None,
    ) -> None:
        """An event of a saga; with the first one it begins. A step that waits lets the saga wait."""
        if not saga.standings:
            self.sagas.append(saga)
        before = saga.last.waits if saga.standings else {}
        waits = {number: told for number, told in before.items() if number not in {step, *dropped}}
        data: dict[str, Any] = {"at": NOON, "dropped": list(dropped), "ended": outcome}
        if kind in {"noticed", "held"}:
            data["key"] = saga.key
        if kind.startswith("step_"):
            data |= {"step": step, "name": f"step {step}", "attempt": 1, "tries": 1}
        if kind in {"step_refused", "step_waits"}:
            data |= {"code": code, "detail": f"{code}, alas", "data": {}}
        if kind in {"held", "step_waits"}:
            del data["dropped"], data["ended"]
        if kind == "step_waits":
            waits[step] = (f"step {step}", code)
        stands = "waiting" if waits else "running" if status == "waiting" else status
        known = saga.last.outcome if saga.standings else None
        saga.standings.append(Standing(position, stands, data.get("ended") or known, waits))
        self.events.append(
            Happened(
                position,
                self.tenant,
                saga.id,
                len(saga.standings),
                f"{saga.type}.{kind}",
                data | {"status": stands},
                stream_type=saga.type,
                recorded_at=f"{_moment(position):%F %T.%f}",
            )
        )

    def listed(
        self,
        at: int,
        *,
        type: str | None = None,  # noqa: A002 - as it is called
        status: str | None = None,
    ) -> list[ListedSaga]:
        return [
            _listed(each, at)
            for each in self.sagas
            if each.first <= at and type in {None, each.type} and status in {None, each.at(at).status}
        ]


def _moment(position: int) -> datetime:
    return NOON + timedelta(seconds=position)


def _listed(saga: Saga, at: int) -> ListedSaga:
    stands = saga.at(at)
    step, code = stands.waits[min(stands.waits)] if stands.waits else (None, None)
    return ListedSaga(
        id=saga.id,
        type=saga.type,
        key=saga.key,
        status=stands.status,  # type: ignore[arg-type]
        outcome=stands.outcome,
        step=step,
        code=code,
        detail=f"{code}, alas" if code else None,
        started_at=_moment(saga.first),
        updated_at=_moment(stands.position),
    )
