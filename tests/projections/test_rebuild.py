"""Rebuilding beside what answers: never an error, a gap or a step back for who asks, whatever happens."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from projections import checkpoints, filling, locks, log_copy, tables
from projections.clickhouse import UNKNOWN_TABLE, ClickHouse, StatementFailed
from projections.declaration import Projection
from projections.rebuild import Rebuild, Rebuilt
from projections.refeed import Refeed
from projections.switching import CannotRebuild, rollback
from tests.eventstore.tally import append, blank
from tests.projections.rows import event, store
from tests.projections.world import CODEC, TALLIES, World, running
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SELECT = TALLIES.definition.select
DOUBLED = replace(
    TALLIES,
    version=2,
    definition=replace(TALLIES.definition, select=f"SELECT * REPLACE (amount * 2 AS amount) FROM ({SELECT})"),
)
WRONG = replace(
    TALLIES, definition=replace(TALLIES.definition, select=SELECT.replace("stream_id", "strm_id"))
)
BY_FOURS = replace(TALLIES, definition=replace(TALLIES.definition, step=4))


def rebuild(world: World, projection: Projection = TALLIES, *, keep_old: bool = False) -> Rebuild:
    return Rebuild(world.worker_url, world.clickhouse, projection, name="the tests", keep_old=keep_old)


async def rebuilt(world: World, projection: Projection = TALLIES, *, keep_old: bool = False) -> Rebuilt:
    """The whole of it."""
    async with rebuild(world, projection, keep_old=keep_old) as made:
        await made.begin()
        return await made.finish(lambda _: None)


async def brought_up(world: World, *, from_store: bool = False) -> Refeed:
    """The log copy at the head, as the command line sees to it before a rebuild."""

    async def reached(_: int) -> None:
        return None

    refeed = Refeed(world.worker_url, world.clickhouse, CODEC, [TALLIES], name="the tests")
    await refeed.bring_up(reached, from_store=from_store)
    return refeed


async def rolled_back(world: World) -> int:
    made = await rollback(world.worker_url, world.clickhouse, "tallies", lambda _: None, name="the tests")
    return made.generation


async def tables_there(world: World) -> set[str]:
    rows = await world.clickhouse.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return {name for (name,) in rows if name.startswith("tallies")}


class Asker:
    """Asks again and again, as the API does: which table answers, then the table."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked = 0

    async def ask_for_ever(self) -> None:
        last = 0
        while True:
            serving = await self._world.generation()
            assert serving is not None
            assert serving.position >= last, "an answer went back in time"
            try:
                rows = await self._world.clickhouse.rows(
                    f"SELECT position FROM {serving.table} FINAL WHERE position <= {serving.position} "
                    "ORDER BY position"
                )
            except StatementFailed as error:
                if error.code != UNKNOWN_TABLE or await self._world.generation() == serving:
                    raise
                continue
            assert [position for (position,) in rows] == list(range(1, serving.position + 1))
            last = serving.position
            self.asked += 1

    async def next_answer(self) -> None:
        """Wait until it has asked once more."""
        before = self.asked

        def asked_again() -> bool:
            assert not self._task.done(), self._task.result()
            return self.asked > before

        await eventually(asked_again)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator["Asker"]:
        """It goes on for the duration, and everything it is told is right."""
        self._task = asyncio.create_task(self.ask_for_ever())
        try:
            yield self
            await self.next_answer()
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def test_while_events_come_and_questions_are_asked(read_side: World) -> None:
    await read_side.add(*range(200))

    async def add_for_ever() -> None:
        while True:
            await read_side.add(1)

    async with running(read_side.projector()):
        first = await read_side.caught_up()
        made: list[Rebuilt] = []
        adding = asyncio.create_task(add_for_ever())
        try:
            async with Asker(read_side).asking() as asker:
                await asker.next_answer()
                for _ in range(3):
                    made.append(await rebuilt(read_side))
                    await asker.next_answer()
        finally:
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)
        serving = await read_side.caught_up()
    assert [each.replaced for each in made] == [
        first.generation,
        *(each.generation.generation for each in made[:2]),
    ]
    for each in made:
        assert each.compared is not None
        assert each.compared.is_same
        assert each.compared.before.rows == each.compared.up_to >= 200
    assert serving.generation == made[-1].generation.generation
    assert await tables_there(read_side) == {serving.table}
    assert len(await read_side.amounts()) == await read_side.head() > 200


async def test_other_answers_are_told(read_side: World) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        await read_side.caught_up()
        made = await rebuilt(read_side, DOUBLED)
        assert made.compared is not None
        assert not made.compared.is_same
        assert (made.compared.before.rows, made.compared.after.rows) == (2, 2)
        await read_side.add(3)
        await read_side.caught_up()
    assert await read_side.amounts() == [(1, Decimal(2)), (2, Decimal(4)), (3, Decimal(6))]


async def test_a_rebuild_that_is_killed_goes_on_where_it_was(read_side: World) -> None:
    store(read_side, [event(read_side, position) for position in range(1, 2001)])
    async with running(read_side.projector()):
        await read_side.caught_up()
        killed = await asyncio.create_subprocess_exec(
            *[sys.executable, "-P", "-c", SLOW_REBUILD, read_side.worker_url, read_side.clickhouse._url()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        await eventually(lambda: stands_beyond(read_side, 2, 100))
        killed.kill()
        await killed.wait()
        await eventually(lambda: nobody_rebuilds(read_side))
        async with rebuild(read_side) as made:
            left = await made.begin()
            assert left < 1900
            again = await made.finish(lambda _: None)
    assert again.generation.generation == 2
    assert again.events == left
    assert again.compared is not None
    assert again.compared.is_same
    assert len(await read_side.amounts()) == 2000


async def test_a_rebuild_that_dies_while_it_clears_up_leaves_no_table_for_ever(
    read_side: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        raise KeyboardInterrupt

    await read_side.add(1, 2)
    async with running(read_side.projector()):
        await read_side.caught_up()
        async with rebuild(read_side) as made:
            await made.begin()
            monkeypatch.setattr(tables, "drop", dies)
            with pytest.raises(KeyboardInterrupt):
                await made.finish(lambda _: None)
            monkeypatch.undo()
        assert await tables_there(read_side) == {"tallies_g1", "tallies_g2"}
        await rebuilt(read_side)
        assert await tables_there(read_side) == {"tallies_g3"}


async def test_a_table_that_is_begun_meanwhile_is_not_dropped(
    read_side: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process, between the two looks at what is there and at what is known."""
    await read_side.add(1)
    place = await log_copy.prepare(read_side.clickhouse)

    async def begun_after(clickhouse: ClickHouse, projections: Collection[str]) -> list[str]:
        await tables.begin(clickhouse, read_side.connection, TALLIES, place)
        return await generations_of(clickhouse, projections)

    generations_of = tables.generations_of
    monkeypatch.setattr(tables, "generations_of", begun_after)
    assert await tables.drop_forgotten(read_side.clickhouse, read_side.connection, ["tallies"]) == 0
    assert await tables_there(read_side) == {"tallies_g1"}


async def test_a_clickhouse_that_is_gone_when_it_begins_or_clears_up_is_waited_for(read_side: World) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        await read_side.caught_up()
        is_gone, url = True, read_side.clickhouse._url()

        def address() -> str:
            return "http://127.0.0.1:1/" if is_gone else url

        async def come_back() -> None:
            nonlocal is_gone
            await asyncio.sleep(0.7)
            is_gone = False

        async with (
            ClickHouse(address) as clickhouse,
            Rebuild(read_side.worker_url, clickhouse, TALLIES, name="the tests", keep_old=True) as made,
        ):
            assert await made.begin() == 2
            coming_back = asyncio.create_task(come_back())
            assert (await made.finish(lambda _: None)).generation.generation == 2
            await coming_back
            is_gone = True
            await clickhouse._forget()
            coming_back = asyncio.create_task(come_back())
            await made._forget_all_but(2)
            await coming_back
    left = await tables.generations_of(read_side.clickhouse, ["tallies"])
    assert left == ["tallies_g2"]


SLOW_REBUILD = """
import asyncio, sys
from projections import filling
from tests.projections.test_rebuild import TALLIES
from projections.clickhouse import ClickHouse
from projections.rebuild import Rebuild

filling.RANGE_EVENTS_MAX = 50
advance = filling.Filling.advance

async def advance_slowly(self, *given, **named):
    await advance(self, *given, **named)
    await asyncio.sleep(0.1)

filling.Filling.advance = advance_slowly

async def main():
    async with ClickHouse(lambda: sys.argv[2]) as clickhouse:
        async with Rebuild(sys.argv[1], clickhouse, TALLIES, name="to be killed") as rebuild:
            await rebuild.begin()
            await rebuild.finish(lambda _: None)

asyncio.run(main())
"""


async def stands_beyond(world: World, generation: int, position: int) -> bool:
    found = await checkpoints.generations(world.connection, "tallies")
    return any(each.generation == generation and each.position > position for each in found)


async def nobody_rebuilds(world: World) -> bool:
    return await locks.holder(world.connection, locks.rebuild_of("tallies")) is None


async def test_a_wrong_select_changes_nothing(read_side: World) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        serving = await read_side.caught_up()
        async with Asker(read_side).asking():
            with pytest.raises(CannotRebuild, match=r"event 1 \(generation 1 goes on answering\): .*strm_id"):
                await rebuilt(read_side, WRONG)
        assert await read_side.generation() == serving
        assert await tables_there(read_side) == {"tallies_g1", "tallies_g2"}
        made = await rebuilt(read_side)
        assert made.generation.definition == TALLIES.definition
        assert await tables_there(read_side) == {made.generation.table}


async def test_what_stands_before_an_unreadable_event_is_not_switched_to(read_side: World) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        await read_side.caught_up()
        await append(read_side.store, read_side.tenant, blank().add(Decimal("NaN")))
        await read_side.add(4)
        await brought_up(read_side)
        with pytest.raises(CannotRebuild, match="tallies cannot read event 3"):
            await rebuilt(read_side)
        await checkpoints.discard(read_side.connection, "tallies", 3, reason="NaN", by="tester")
        await rebuilt(read_side)
        await read_side.caught_up()
    assert await read_side.amounts() == [(1, Decimal(1)), (2, Decimal(2)), (4, Decimal(4))]


async def test_what_read_an_event_that_is_discarded_meanwhile_is_begun_anew(read_side: World) -> None:
    await read_side.add(1, 2)
    await brought_up(read_side)
    await rebuilt(read_side)
    async with rebuild(read_side) as made:
        await made.begin()
        await filling_of(made).advance(2, serving=False)
        await checkpoints.discard(read_side.connection, "tallies", 2, reason="a test", by="tester")
        done = await made.finish(lambda _: None)
    assert done.events == 2, "both were gone through again"
    assert await read_side.amounts() == [(1, Decimal(1))]


def filling_of(made: Rebuild) -> filling.Filling:
    assert made._filling is not None
    return made._filling


async def test_back_and_forth(read_side: World) -> None:
    await read_side.add(1)
    async with running(read_side.projector()):
        await read_side.caught_up()
        with pytest.raises(CannotRebuild, match="no generation to go back to"):
            await rolled_back(read_side)
        await rebuilt(read_side, DOUBLED, keep_old=True)
        await read_side.add(2)
        await read_side.caught_up()
        assert await read_side.amounts() == [(1, Decimal(2)), (2, Decimal(4))]
        async with Asker(read_side).asking():
            assert await rolled_back(read_side) == 1
            assert await read_side.amounts() == [(1, Decimal(1)), (2, Decimal(2))]
            await read_side.add(3)
            await read_side.caught_up()
            assert await rolled_back(read_side) == 2
        assert await read_side.amounts() == [(1, Decimal(2)), (2, Decimal(4)), (3, Decimal(6))]
        assert await tables_there(read_side) == {"tallies_g1", "tallies_g2"}
        await rebuilt(read_side)
        with pytest.raises(CannotRebuild, match="no generation to go back to"):
            await rolled_back(read_side)


async def test_one_at_a_time(read_side: World) -> None:
    await read_side.add(1)
    await brought_up(read_side)
    async with rebuild(read_side) as first:
        await first.begin()
        with pytest.raises(CannotRebuild, match="tallies is being rebuilt already: the tests"):
            await rebuilt(read_side)


@pytest.mark.parametrize("by", [TALLIES, BY_FOURS], ids=["by ones", "by fours"])
async def test_without_any_worker(read_side: World, by: Projection) -> None:
    """The command line brings the log copy up by itself, and what was never built is built."""
    await read_side.add(*range(1, 11))
    for additional in (0, 3):
        await read_side.add(*range(additional))
        refeed = await brought_up(read_side)
        assert refeed.copied == (additional or 10)
        made = await rebuilt(read_side, by)
        assert made.generation.position == await read_side.head() // by.definition.step * by.definition.step
        assert (made.compared is None) == (additional == 0)
    assert len(await read_side.amounts()) == made.generation.position


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_wiped_clickhouse_comes_back_byte_for_byte(read_side: World, is_running: bool) -> None:
    store(read_side, [event(read_side, position) for position in range(1, 3001)])

    async def everything() -> list[object]:
        serving = await read_side.caught_up()
        return [
            await read_side.clickhouse.rows(f"SELECT * FROM {table} FINAL ORDER BY position")
            for table in ("log", serving.table)
        ]

    async with running(*[read_side.projector()] * 1):
        before = await everything()
    async with running(*[read_side.projector()] * is_running):
        for table in ("log", "erp_instance", *await tables_there(read_side)):
            await tables.drop(read_side.clickhouse, [table])
        await brought_up(read_side, from_store=True)
        await rebuilt(read_side)
        assert await everything() == before
        await read_side.add(1)
        await brought_up(read_side)
        await rebuilt(read_side)
        assert len(await read_side.amounts()) == 3001


async def test_rows_beyond_the_head_go_when_the_log_copy_is_held_against_the_store(read_side: World) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        await read_side.caught_up()
        await read_side.clickhouse.command(
            "INSERT INTO log SELECT * REPLACE (9 AS position) FROM log FINAL LIMIT 1"
        )
        await brought_up(read_side, from_store=True)
        assert await read_side.clickhouse.rows("SELECT max(position) FROM log") == [(2,)]
        await read_side.add(*range(3, 11))
        await read_side.caught_up()
    assert await read_side.amounts() == [(n, Decimal(n)) for n in range(1, 11)]


async def test_clickhouse_made_anew_under_a_rebuild(read_side: World) -> None:
    """The rebuild begins again, with the projector or beside it."""
    await read_side.add(*range(1, 11))
    async with running(read_side.projector()):
        await read_side.caught_up()
        async with rebuild(read_side) as made:
            await made.begin()
            for table in ("log", "erp_instance", *await tables_there(read_side)):
                await tables.drop(read_side.clickhouse, [table])
            await made.finish(lambda _: None)
        await read_side.caught_up()
    assert len(await read_side.amounts()) == 10
