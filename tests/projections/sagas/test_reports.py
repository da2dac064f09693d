"""The list of sagas, for random histories at random positions, says what they say themselves."""

import asyncio
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from projections.reading import View
from projections.sagas import SAGAS_PROJECTIONS
from projections.sagas.listed import ListedSaga, sagas
from tests.projections.sagas.model import Processes, Saga
from tests.projections.shelf import Shelf, splits

TENANTS = (UUID(int=1), UUID(int=2))
TYPES = ("sagas.order_to_cash", "sagas.inventory_voucher")
STATUSES = ("not_started", "running", "waiting", "resting", "ended", "aborted")
STEPS = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["begin", "begin", "noticed", "step_done", "step_refused", "timed_out", "aborted"])
    | st.just("step_waits"),
    st.integers(0, 100),
    st.sampled_from(TYPES),
    st.sampled_from(STATUSES),
    st.integers(1, 3),
    st.sampled_from(["finance.period_closed", "unavailable"]),
    st.lists(st.integers(1, 3), max_size=2),
    st.sampled_from([None, "shipped", "cancelled"]),
    st.integers(0, 2),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[UUID, Processes], int]:
    """Sagas of two tenants whose events are mixed, and the last position."""
    kept = {tenant: Processes(tenant) for tenant in TENANTS}
    position = 0
    for number, drawn in enumerate(draw(st.lists(STEPS, max_size=40)), start=100):
        whose, kind, which, saga_type, status, step, code, dropped, outcome, gap = drawn
        mine = kept[TENANTS[whose]]
        position += gap + 1
        if kind == "begin" or not mine.sagas:
            saga = Saga(UUID(int=number), saga_type, f"key {number}")
            first = "held" if status == "not_started" else "noticed"
            mine.happens(saga, position, first, status=status)
            continue
        is_about_a_step = kind.startswith("step_")
        mine.happens(
            mine.sagas[which % len(mine.sagas)],
            position,
            kind,
            status=status,
            step=step if is_about_a_step else 0,
            code=code,
            dropped=() if kind == "step_waits" else dropped,
            outcome=outcome,
        )
    return kept, position


# An example takes a second, and shrinking many of them.
@settings(max_examples=20, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_the_list_is_what_they_say(shelf: Shelf, runner: asyncio.Runner, data: st.DataObject) -> None:
    kept, end = data.draw(histories())
    ranges = [(each, data.draw(splits(end))) for each in SAGAS_PROJECTIONS]
    at = data.draw(st.integers(0, end) | st.just(end))
    questions: list[dict[str, Any]] = [{"status": status} for status in STATUSES]
    questions += [{}, {"type": TYPES[0]}, {"type": TYPES[1], "status": "waiting"}]
    asked = data.draw(st.lists(st.sampled_from(questions), min_size=3, max_size=4, unique_by=str))

    async def compare() -> None:
        await shelf.clear()
        await shelf.record(event for each in kept.values() for event in each.events)
        for projection, chosen in ranges:
            for after, up_to in chosen:
                await shelf.project(projection, after, up_to)
        for tenant, mine in kept.items():
            view = shelf.view(tenant, at)
            for wanted in asked:
                assert await listed(view, **wanted) == mine.listed(at, **wanted)

    runner.run(compare())


async def listed(view: View, **wanted: Any) -> list[ListedSaga]:
    """All pages."""
    items: list[ListedSaga] = []
    after: int | None = 0
    while after is not None:
        page = await sagas(view, limit=3, after=after, **wanted)
        items += page.items
        after = page.next_after
    return items
