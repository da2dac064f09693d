"""The list of sagas, in the order in which they began.

In two steps, as other lists: a page of first events, then what happened to just these sagas. A status is
asked of those only that ever had it, for what most people look for are the few that wait.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from projections.view import View

SagaListStatus = Literal["not_started", "running", "waiting", "resting", "ended", "aborted"]


@dataclass(frozen=True, slots=True)
class ListedSaga:
    """A business process without its steps.

    Attributes:
        key: what it is about.
        outcome: how it came to an end; null while it goes on.
        step: of one that waits: the first step that does, by name; `code` and `detail` say for what.
    """

    id: UUID
    type: str
    key: str
    status: SagaListStatus
    outcome: str | None
    step: str | None
    code: str | None
    detail: str | None
    started_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ListedSagas:
    """A page of the list; `next_after` is where the next one begins, None after the last one."""

    items: tuple[ListedSaga, ...]
    next_after: int | None


# `later` is said in a form that lets the table be read in its order, and no further than the page goes.
_FIRST: Final = """
    SELECT saga_id, saga_type, key, position, recorded_at
      FROM sagas_events
     WHERE later = false AND position > {after:UInt64}"""
_PAGE: Final = "ORDER BY position LIMIT {limit:UInt64}"
_FILTERS: Final = {
    "type": "saga_type = {type:String}",
    "status": """saga_id IN (
            SELECT saga_id FROM sagas_events
             WHERE position > {after:UInt64} AND saga_id IN (
                   SELECT saga_id FROM sagas_events
                    WHERE position > {after:UInt64} AND status = {status:String})
             GROUP BY saga_id HAVING argMax(status, position) = {status:String})""",
}
_STANDS: Final = """
    SELECT saga_id, argMax(status, position) AS stands, max(recorded_at) AS updated_at,
           argMaxIf(outcome, position, isNotNull(outcome)) AS last_outcome
      FROM sagas_events
     WHERE position >= {first:UInt64} AND saga_id IN {sagas:Array(UUID)}
     GROUP BY saga_id"""
_STEPS: Final = """
    SELECT saga_id, kind, step, name, code, detail, dropped
      FROM sagas_events
     WHERE position >= {first:UInt64} AND saga_id IN {sagas:Array(UUID)}
     ORDER BY position"""


async def sagas(
    view: View,
    *,
    limit: int,
    after: int = 0,
    type: str | None = None,  # noqa: A002 - as it is called
    status: SagaListStatus | None = None,
) -> ListedSagas:
    """A page of the business processes.

    Args:
        view: of events of sagas.
        limit: how many at most.
        after: `next_after` of the page before, 0 for the first page.
        type: those of this type only.
        status: those that stand like this only.
    """
    given = {"type": type, "status": status}
    wanted = {name: value for name, value in given.items() if value is not None}
    sql = " AND ".join((_FIRST, *(_FILTERS[name] for name in wanted)))
    found = await view.rows(f"{sql} {_PAGE}", after=after, limit=limit + 1, **wanted)
    shown = found[:limit]
    if not shown:
        return ListedSagas((), None)
    first = shown[0]["position"]
    ids = [str(row["saga_id"]) for row in shown]
    stands = {row["saga_id"]: row for row in await view.rows(_STANDS, first=first, sagas=ids)}
    waiting = [str(each) for each, row in stands.items() if row["stands"] == "waiting"]
    steps = await _waiting_steps(view, first, waiting) if waiting else {}
    return ListedSagas(
        tuple(_listed(row, stands[row["saga_id"]], steps.get(row["saga_id"])) for row in shown),
        shown[-1]["position"] if len(found) > limit else None,
    )


async def _waiting_steps(view: View, first: int, ids: Iterable[str]) -> dict[UUID, Mapping[str, Any]]:
    """What was told last of the first step that waits, by saga."""
    told: defaultdict[UUID, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row in await view.rows(_STEPS, first=first, sagas=list(ids)):
        of_saga = told[row["saga_id"]]
        if row["kind"] == "step_waits":
            of_saga[row["step"]] = row
            continue
        for settled in (row["step"], *row["dropped"]):
            of_saga.pop(settled, None)
    return {saga: steps[min(steps)] for saga, steps in told.items() if steps}


def _listed(row: Mapping[str, Any], stands: Mapping[str, Any], step: Mapping[str, Any] | None) -> ListedSaga:
    return ListedSaga(
        id=row["saga_id"],
        type=row["saga_type"],
        key=row["key"],
        status=stands["stands"],
        outcome=stands["last_outcome"],
        step=step["name"] if step else None,
        code=step["code"] if step else None,
        detail=step["detail"] if step else None,
        started_at=row["recorded_at"],
        updated_at=stands["updated_at"],
    )
