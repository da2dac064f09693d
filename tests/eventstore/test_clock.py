"""Promise 5: `recorded_at` grows with the position, and an instant, once resolved, stays resolved."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore, KnownAtInFuture
from tests.eventstore.conftest import new_tenant
from tests.eventstore.requests import call, one_event
from tests.eventstore.tally import Tally, append, blank

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Log:
    """A log whose clock stands still until it is set, beside a plain list of what it must hold."""

    def __init__(self, connection: "psycopg.Connection[Any]", tenant: UUID) -> None:
        self._connection = connection
        self._tenant = tenant
        self.now = NOON
        self.resolved = NOON - timedelta(days=1)
        self.recorded: list[datetime] = []

    def set_clock(self, now: datetime) -> None:
        """From now on it is this time."""
        self.now = now
        self._connection.execute("UPDATE erp.fake_clock SET now = %s", [now])

    def append(self, count: int = 1) -> datetime:
        """Append events in one batch, and return when the last one was recorded."""
        receipts = call(self._connection, *(one_event(self._tenant) for _ in range(count)))
        self.recorded += sorted(receipt.recorded_at for receipt in receipts)
        return self.recorded[-1]

    def position_at(self, known_at: datetime) -> int | None:
        """What the store answers."""
        row = self._connection.execute("SELECT erp.position_at(%s)", [known_at]).fetchone()
        assert row is not None
        return row[0]  # type: ignore[no-any-return]

    def expected_position(self, known_at: datetime) -> int | None:
        """What it should answer."""
        latest = max([self.now, self.resolved, *self.recorded[-1:]])
        if known_at > latest:
            return None
        self.resolved = max(self.resolved, known_at)
        return bisect_right(self.recorded, known_at)


@pytest.fixture
def log(own_url: str) -> Iterator[Log]:
    """An empty log at noon."""
    with psycopg.connect(own_url, autocommit=True, options="-c timezone=UTC") as owner:
        owner.execute("CREATE TABLE erp.fake_clock AS SELECT %s::timestamptz AS now", [NOON])
        owner.execute(
            """CREATE FUNCTION erp.fake_clock() RETURNS timestamptz
               LANGUAGE sql AS 'SELECT now FROM erp.fake_clock'"""
        )
        for function in ("append_events", "position_at"):
            row = owner.execute("SELECT pg_get_functiondef(%s::regproc)", [f"erp.{function}"]).fetchone()
            assert row is not None
            assert "clock_timestamp()" in row[0]
            owner.execute(row[0].replace("clock_timestamp()", "erp.fake_clock()").encode())
        yield Log(owner, new_tenant(own_url))


def test_clock_that_stands_still(log: Log) -> None:
    """Events of the same microsecond are recorded a microsecond apart, within a batch and between batches."""
    log.append(3)
    log.append()
    log.append(2)
    assert log.recorded == [NOON + n * MICROSECOND for n in range(6)]


def test_clock_that_steps_back(log: Log) -> None:
    """After the clock was set back, time goes on from the last event until the clock has caught up."""
    log.append()
    log.set_clock(NOON - timedelta(hours=1))
    assert log.append() == NOON + MICROSECOND
    assert log.append(2) == NOON + 3 * MICROSECOND
    log.set_clock(NOON + timedelta(seconds=1))
    assert log.append() == NOON + timedelta(seconds=1)


def test_this_very_instant(log: Log) -> None:
    """What was known right now is known for good: who appends in the same microsecond is recorded after
    it.
    """
    assert log.position_at(NOON) == 0
    assert log.append() == NOON + MICROSECOND
    assert log.position_at(NOON) == 0
    assert log.position_at(NOON + MICROSECOND) == 1
    assert log.append() == NOON + 2 * MICROSECOND
    assert log.position_at(NOON + MICROSECOND) == 1
    log.set_clock(NOON + timedelta(seconds=1))
    assert log.position_at(NOON + timedelta(seconds=1)) == 2
    log.set_clock(NOON)
    assert log.append() == NOON + timedelta(seconds=1) + MICROSECOND
    assert log.position_at(NOON + timedelta(seconds=1)) == 2


def test_the_future_is_not_known(log: Log) -> None:
    """An instant that has not come has no position, and asking for it changes nothing."""
    assert log.position_at(NOON + MICROSECOND) is None
    assert log.position_at(datetime.max.replace(tzinfo=UTC)) is None
    assert log.append(3) == NOON + 2 * MICROSECOND
    assert log.position_at(NOON + 3 * MICROSECOND) is None
    assert log.append() == NOON + 3 * MICROSECOND


def test_before_everything(log: Log) -> None:
    """Before the first event nothing was known."""
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    assert log.position_at(long_ago) == 0
    log.append(3)
    assert log.position_at(long_ago) == 0
    assert log.position_at(NOON - MICROSECOND) == 0
    assert log.position_at(NOON) == 1


offsets = st.integers(-30, 30)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("clock"), offsets),
        st.tuples(st.just("ask"), offsets),
    ),
    min_size=4,
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_answers_are_those_of_a_plain_list(log: Log, steps: list[tuple[str, int]]) -> None:
    """However the clock jumps between appends and questions: each answer is right, and still is at the
    end.
    """
    answers: dict[datetime, int] = {}
    for step, argument in steps:
        near = (log.recorded[-1] if log.recorded else NOON) + argument * MICROSECOND
        if step == "append":
            log.append(argument)
        elif step == "clock":
            log.set_clock(near)
        else:
            position = log.position_at(near)
            assert position == log.expected_position(near)
            if position is not None:
                assert answers.setdefault(near, position) == position
    assert all(earlier < later for earlier, later in pairwise(log.recorded))
    for known_at, position in answers.items():
        assert log.position_at(known_at) == position == bisect_right(log.recorded, known_at)


@pytest.fixture
async def own_store(own_url: str) -> AsyncIterator[EventStore]:
    """A store on a log of its own, with the real clock."""
    async with EventStore(with_user(own_url, "erp_app"), Codec([Tally])) as opened:
        yield opened


async def test_answers_hold_while_others_append(own_url: str, own_store: EventStore) -> None:
    """Instants are resolved while four writers append: against the whole log, each answer proves right."""
    tenant = new_tenant(own_url)
    writing = True

    async def write() -> None:
        async with EventStore(with_user(own_url, "erp_app"), Codec([Tally])) as store:
            while writing:
                await append(store, tenant, blank().add().add())

    async def ask() -> dict[datetime, int]:
        answers: dict[datetime, int] = {}
        while len(answers) < 250 or len(set(answers.values())) <= 20:
            # The very latest that is not in the future, where appends under way are the danger.
            known_at = datetime.now(UTC)
            answers[known_at] = await own_store.position_at(known_at)
        return answers

    writers = [asyncio.create_task(write()) for _ in range(4)]
    asked = await asyncio.gather(ask(), ask())
    writing = False
    await asyncio.gather(*writers)
    with psycopg.connect(own_url) as owner:
        recorded = [
            row[0] for row in owner.execute("SELECT recorded_at FROM erp.events ORDER BY position").fetchall()
        ]
    for answers in asked:
        assert answers == {known_at: bisect_right(recorded, known_at) for known_at in answers}


async def test_store_says_that_it_cannot_know(own_store: EventStore) -> None:
    """The future is an error with a name, not a position."""
    with pytest.raises(KnownAtInFuture):
        await own_store.position_at(datetime.now(UTC) + timedelta(hours=1))
    assert await own_store.position_at(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await own_store.position_at(datetime.min.replace(tzinfo=UTC)) == 0
