"""Asking the read side: what is answered from where, and when there is no answer."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from erp.embedded.clickhouse import EmbeddedClickhouse
from eventstore.checkpoint import read_page
from eventstore.store import KnownAtInFuture
from projections import checkpoints, log_copy, reading, tables, watermark
from projections.clickhouse import ReadSideDown, StatementFailed
from projections.declaration import ProjectionQuery
from projections.mending import reset
from projections.reading import Lagging, ReadSide, ServerRestarted, View
from tests.eventstore.conftest import new_tenant
from tests.eventstore.tally import append, blank
from tests.projections.world import CODEC, TALLIES, World, running
from tests.waiting import eventually

pytestmark = pytest.mark.integration


async def total(view: View, above: Decimal = Decimal(0)) -> tuple[Decimal, int]:
    """The sum of a tenant's amounts above one, and their number."""
    (row,) = await view.rows(
        """WITH counted AS (SELECT amount FROM tallies WHERE amount > {above:Decimal(38, 4)})
           SELECT sum(amount) AS total, count() AS count FROM counted""",
        above=above,
    )
    return row["total"], row["count"]


TOTAL = ProjectionQuery("total", (TALLIES,), total)


@pytest.fixture
async def asked(read_side: World) -> AsyncIterator[ReadSide]:
    """A read side that the projector brings on."""
    async with running(read_side.projector()):
        yield ReadSide(read_side.clickhouse, read_side.store)


async def test_an_answer_stands_at_a_position(read_side: World, asked: ReadSide) -> None:
    """At least at the one that is wanted; exactly at that of an instant, whatever has come since."""
    await read_side.add(1, 2)
    answered = await asked.ask(TOTAL, read_side.tenant, min_position=2, wait_s=30)
    assert answered == ((3, 2), 2, [])
    between = datetime.now(UTC)
    await asyncio.sleep(0.01)
    await read_side.add(4)
    answered = await asked.ask(TOTAL, read_side.tenant, min_position=3, wait_s=30, above=Decimal(1))
    assert answered == ((6, 2), 3, [])
    assert await asked.ask(TOTAL, read_side.tenant, known_at=between) == ((3, 2), 2, [])
    assert await asked.ask(TOTAL, read_side.tenant, known_at=datetime(2000, 1, 1, tzinfo=UTC)) == (
        (0, 0),
        0,
        [],
    )
    with pytest.raises(KnownAtInFuture):
        await asked.ask(TOTAL, read_side.tenant, known_at=datetime.now(UTC) + timedelta(hours=1))


async def test_each_tenant_sees_its_own(read_side: World, asked: ReadSide) -> None:
    """And a stranger nothing."""
    other = new_tenant(read_side.owner_url)
    await read_side.add(1)
    await append(read_side.store, other, blank().add(Decimal(10)))
    await asked.standing([TALLIES], min_position=2, wait_s=30)
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (1, 1)
    assert (await asked.ask(TOTAL, other)).answer == (10, 1)
    assert (await asked.ask(TOTAL, uuid4())).answer == (0, 0)


async def test_it_waits_as_long_as_it_is_told_and_no_longer(read_side: World, asked: ReadSide) -> None:
    """Many wait by one look at Postgres; who does not wait is told at once where it stands."""
    await read_side.add(1)
    await asked.standing([TALLIES], min_position=1, wait_s=30)
    for wait_s in (0, 0.1):
        with pytest.raises(Lagging) as told:
            await asked.standing([TALLIES], min_position=2, wait_s=wait_s)
        assert told.value.position == 1
    looks = []
    look = asked._watch._look

    async def counted() -> Any:
        looks.append(1)
        return await look()

    asked._watch._look = counted
    clock = asyncio.get_running_loop().time
    began = clock()
    waiting = [asyncio.create_task(asked.standing([TALLIES], min_position=2, wait_s=30)) for _ in range(100)]
    await asyncio.sleep(0.3)
    await read_side.add(1)
    assert {each.position for each in await asyncio.gather(*waiting)} == {2}
    assert len(looks) < 2 + (clock() - began) / reading._LOOK_EVERY_S


async def test_whoever_waits_is_answered_when_the_process_is_to_end(
    read_side: World, asked: ReadSide
) -> None:
    """A report that may wait for half a minute holds up no SIGTERM."""
    await read_side.add(1)
    await asked.standing([TALLIES], min_position=1, wait_s=30)
    waiting = asyncio.create_task(asked.standing([TALLIES], min_position=2, wait_s=3600))
    await asyncio.sleep(0.05)
    asked.drain()
    for late in (waiting, asked.standing([TALLIES], min_position=2, wait_s=3600)):
        with pytest.raises(Lagging):
            await late
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (1, 1)


async def test_before_anything_answers(read_side: World) -> None:
    """A system without a worker, or one whose tables are all being filled."""
    asked = ReadSide(read_side.clickhouse, read_side.store)
    with pytest.raises(Lagging) as told:
        await asked.standing([TALLIES], wait_s=0.05)
    assert told.value.position is None


async def serving_table(read_side: World) -> str:
    serving = await read_side.generation()
    assert serving is not None
    return serving.table


async def test_a_clickhouse_that_lost_rows_gives_no_answer(read_side: World) -> None:
    """Neither one restored from an older copy, nor another one, nor one that was wiped."""
    async with running(read_side.projector()):
        await read_side.add(1, 2, 3)
        await read_side.caught_up()
    asked = ReadSide(read_side.clickhouse, read_side.store, proven_for_s=0.1)
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (6, 3)
    execute = read_side.clickhouse.command
    await execute("ALTER TABLE log DELETE WHERE position > 2 SETTINGS mutations_sync = 2")
    await eventually(lambda: has_not_got(asked, read_side.tenant))
    with read_side.owner() as owner:
        owner.execute("UPDATE erp.projection_generations SET position = 2")
        owner.execute("UPDATE erp.log_copy SET position = 2")
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (3, 2)
    with read_side.owner() as owner:
        owner.execute("UPDATE erp.projection_generations SET instance = gen_random_uuid()")
    with pytest.raises(ReadSideDown, match="has not got"):
        await asked.ask(TOTAL, read_side.tenant)
    await execute(f"DROP TABLE {await serving_table(read_side)} SYNC")
    with pytest.raises(ReadSideDown):
        await asked.ask(TOTAL, read_side.tenant)


async def test_a_newer_row_does_not_hide_what_an_older_copy_lacks(read_side: World) -> None:
    """Of a ClickHouse that was started since it was looked at, each row is looked for."""
    await read_side.add(*range(1, 9))
    async with running(read_side.projector()):
        serving = await read_side.caught_up()
    asked = ReadSide(read_side.clickhouse, read_side.store, proven_for_s=3600)
    for table in ("log", serving.table):
        await tables.forget_after(read_side.clickhouse, table, 3)
    await read_side.add(9)
    await log_copy.write(read_side.clickhouse, await read_page(read_side.connection, 8, 1, 1 << 20), CODEC)
    with pytest.raises(ReadSideDown, match="has not got"):
        await asked.ask(TOTAL, read_side.tenant)


async def test_what_a_table_lost_with_a_restart_is_put_in_before_anything_answers(read_side: World) -> None:
    """As after a loss of power: the log copy has all, the table has not, and only the projector can tell."""
    await read_side.add(1, 2, 4)
    async with running(read_side.projector()):
        serving = await read_side.caught_up()
    await tables.forget_after(read_side.clickhouse, serving.table, 1)
    await read_side.clickhouse.command("TRUNCATE TABLE erp_settled")  # what a start does
    with read_side.owner() as owner:
        owner.execute("UPDATE erp.projection_generations SET moved_at = '2020-01-01'")
    asked = ReadSide(read_side.clickhouse, read_side.store)
    with pytest.raises(ReadSideDown, match="no worker has looked"):
        await asked.ask(TOTAL, read_side.tenant)
    waits = asyncio.create_task(asked.ask(TOTAL, read_side.tenant, wait_s=30))
    await asyncio.sleep(0.3)
    assert not waits.done()
    async with running(read_side.projector()):
        assert (await waits).answer == (7, 3)
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (7, 3)


async def test_only_the_run_that_was_looked_at_counts_as_such(read_side: World) -> None:
    """Not one that began while somebody looked."""
    await log_copy.prepare(read_side.clickhouse)
    await log_copy.say_settled(read_side.clickhouse, 1_000_000)
    assert await read_side.clickhouse.rows("SELECT count() FROM erp_settled") == [(0,)]
    await log_copy.say_settled(read_side.clickhouse, 0)
    assert await read_side.clickhouse.rows("SELECT count() FROM erp_settled") == [(1,)]


async def test_a_clickhouse_that_stands_still_holds_nobody_for_long(
    read_side: World, clickhouse_server: EmbeddedClickhouse
) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        await read_side.caught_up()
    asked = ReadSide(read_side.clickhouse, read_side.store, answer_s=0.5)
    pid = clickhouse_server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ReadSideDown, match="does not answer"):
            await asked.ask(TOTAL, read_side.tenant, wait_s=0.1)
    finally:
        os.kill(pid, signal.SIGCONT)
    asked = ReadSide(read_side.clickhouse, read_side.store)
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (3, 2)


async def test_who_is_asked_about_first_does_not_matter_to_what_was_lost(read_side: World) -> None:
    """A question that reads nothing yet does not prove that all is there."""
    async with running(read_side.projector()):
        await read_side.add(1, 2, 3)
        await read_side.caught_up()
    asked = ReadSide(read_side.clickhouse, read_side.store, proven_for_s=3600)
    await eventually(lambda: has_been_up_for(read_side, 4))
    await read_side.clickhouse.command(
        "ALTER TABLE log DELETE WHERE position > 2 SETTINGS mutations_sync = 2"
    )
    with pytest.raises(Lagging):
        await asked.ask(
            ProjectionQuery("none", (replace(TALLIES, name="nobody"),), total), read_side.tenant, wait_s=0.2
        )
    with pytest.raises(ReadSideDown, match="has not got"):
        await asked.ask(TOTAL, read_side.tenant)


async def has_been_up_for(read_side: World, seconds: int) -> bool:
    """Before, it is looked at for every question."""
    return await read_side.clickhouse.rows(f"SELECT uptime() >= {seconds}") == [(1,)]


async def test_a_clickhouse_that_was_made_anew_answers_at_once(read_side: World) -> None:
    """What was known of the one before holds nobody up."""
    async with running(read_side.projector()):
        await read_side.add(1, 2)
        await read_side.caught_up()
    asked = ReadSide(read_side.clickhouse, read_side.store, proven_for_s=3600)
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (3, 2)
    assert asked._proof is not None
    now = asyncio.get_running_loop().time()
    asked._proof = asked._proof._replace(instance=uuid4(), good_until_s=now + 3600)
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (3, 2)


async def has_not_got(asked: ReadSide, tenant: UUID) -> bool:
    """Whether it is noticed what is missing."""
    try:
        await asked.ask(TOTAL, tenant)
    except ReadSideDown as error:
        return "has not got" in str(error)
    return False


async def test_a_clickhouse_that_was_started_again_is_looked_at_again(read_side: World) -> None:
    """Each statement notices by itself, also when it has been up for as long again as before; where nothing
    is missing it is asked once more, and answers.
    """
    async with running(read_side.projector()):
        await read_side.add(1, 2)
        await read_side.caught_up()
    asked = ReadSide(read_side.clickhouse, read_side.store, proven_for_s=3600)
    assert (await asked.ask(TOTAL, read_side.tenant)).answer == (3, 2)
    assert asked._proof is not None
    proof, long_ago_s = asked._proof, asyncio.get_running_loop().time() - 60
    for before in (proof._replace(uptime_s=1_000_000), proof._replace(looked_at_s=long_ago_s)):
        asked._proof = before
        assert (await asked.ask(TOTAL, read_side.tenant)).answer == (3, 2)
        assert asked._proof not in {None, before}
        view = View(read_side.clickhouse, read_side.tenant, await asked.standing([TALLIES]), before)
        with pytest.raises(ServerRestarted):
            await view.rows("SELECT amount FROM tallies WHERE amount > 1000")


async def test_a_table_that_is_waited_for_is_filled_at_once(read_side: World) -> None:
    """Else it is filled now and then; a wish for what will not come for years holds nobody up."""
    asked = ReadSide(read_side.clickhouse, read_side.store)
    await read_side.add(1)
    async with running(read_side.projector(interval_s=3600)):
        await read_side.caught_up()
        with read_side.owner() as owner:
            owner.execute("NOTIFY erp_wanted, 'nonsense'")
            owner.execute("NOTIFY erp_wanted")
        waits = asyncio.create_task(asked.ask(TOTAL, read_side.tenant, min_position=10**9, wait_s=30))
        await read_side.add(2, 4)
        await eventually(lambda: copied(read_side, 3))
        assert await asked.ask(TOTAL, read_side.tenant) == ((1, 1), 1, [])
        answered = await asked.ask(TOTAL, read_side.tenant, min_position=2, wait_s=30)
        assert answered == ((7, 3), 3, [])
        await read_side.add(8)
        answered = await asked.ask(TOTAL, read_side.tenant, min_position=4, wait_s=30)
        assert answered == ((15, 4), 4, [])
        waits.cancel()


async def test_what_is_waited_for_does_not_wait_for_kafka(
    read_side: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched from the store, unless it is much; nobody takes it for something that Kafka has lost."""
    asked = ReadSide(read_side.clickhouse, read_side.store)
    await read_side.add(1)
    projector = read_side.projector(patience_s=3600)
    async with running(projector):
        await read_side.caught_up()
        # However long it takes to bring the next one, it comes before the projector would fetch it itself.
        monkeypatch.setattr(watermark, "_PATIENCE_WITHOUT_KAFKA_S", 3600)
        await read_side.add(2)
        page = await read_page(read_side.connection, 1, 1, 1 << 20)
        await log_copy.write(read_side.clickhouse, page, CODEC)
        projector.brought(page)  # from now on it trusts in Kafka
        await read_side.caught_up()
        await eventually(lambda: projector.status.position == 2)
        healed = projector.status.healed
        await read_side.add(4)
        await asyncio.sleep(0.5)
        assert await asked.ask(TOTAL, read_side.tenant) == ((3, 2), 2, [])
        answered = await asked.ask(TOTAL, read_side.tenant, min_position=3, wait_s=30)
        assert answered == ((7, 3), 3, [])
        await eventually(lambda: projector.status.hurried == 1)
        assert projector.status.healed == healed

        await read_side.add(*[1] * 501)
        with pytest.raises(Lagging):
            await asked.ask(TOTAL, read_side.tenant, min_position=504, wait_s=0.5)
        answered = await asked.ask(TOTAL, read_side.tenant, min_position=503, wait_s=30)
        assert answered == ((507, 503), 503, [])


async def copied(world: World, position: int) -> bool:
    """Whether the watermark is there."""
    return (await checkpoints.log_copy(world.connection)).position >= position


async def test_a_switch_in_the_middle_of_a_question_is_not_seen(read_side: World) -> None:
    """A question whose table was dropped after a rebuild is asked again, of the new one."""
    async with running(read_side.projector()):
        await read_side.add(1)
        await read_side.caught_up()
    tables: list[str] = []

    async def switched_in_between(view: View) -> tuple[Decimal, int]:
        tables.append(await serving_table(read_side))
        if len(tables) == 1:
            with read_side.owner() as owner:
                owner.execute(
                    """INSERT INTO erp.projection_generations
                              (projection, generation, version, definition, instance, position)
                       SELECT projection, 2, version, definition, instance, position
                         FROM erp.projection_generations"""
                )
                owner.execute("UPDATE erp.projections SET serving = 2, previous = 1")
            await read_side.clickhouse.command("RENAME TABLE tallies_g1 TO tallies_g2")
        return await total(view)

    query = ProjectionQuery("total", (TALLIES,), switched_in_between)
    asked = ReadSide(read_side.clickhouse, read_side.store)
    assert (await asked.ask(query, read_side.tenant)).answer == (1, 1)
    assert tables == ["tallies_g1", "tallies_g2"]


async def test_a_reset_in_the_middle_of_a_question_is_not_seen(read_side: World) -> None:
    """What is made anew has another name than what was asked, which is gone."""
    await read_side.add(*range(1, 101))
    asked_of: list[int] = []

    async def reset_in_between(view: View) -> tuple[Decimal, int]:
        asked_of.append(view.position)
        if len(asked_of) == 1:
            await reset(read_side.worker_url, read_side.clickhouse, name="the tests")
            await eventually(lambda: tables.generations_of(read_side.clickhouse, ["tallies"]))
        return await total(view)

    query = ProjectionQuery("total", (TALLIES,), reset_in_between)
    async with running(read_side.projector()):
        await read_side.caught_up()
        asked = ReadSide(read_side.clickhouse, read_side.store)
        answered = await asked.ask(query, read_side.tenant, min_position=100, wait_s=30)
    assert answered == ((5050, 100), 100, [])
    assert asked_of == [100, 100]


async def test_what_was_discarded_is_told_to_whom_it_concerns(read_side: World, asked: ReadSide) -> None:
    """The tenant whose event it was, from the position on where it is missing."""
    other = new_tenant(read_side.owner_url)
    await read_side.add(1, 2)
    await asked.standing([TALLIES], min_position=1, wait_s=30)
    await checkpoints.discard(read_side.connection, TALLIES.name, 2, reason="a test", by="tester")
    await checkpoints.discard(read_side.connection, "another", 1, reason="a test", by="tester")
    assert (await asked.ask(TOTAL, read_side.tenant, min_position=2, wait_s=30)).discarded == [2]
    assert (await asked.ask(TOTAL, other)).discarded == []


async def test_sql_that_is_wrong_is_no_outage(read_side: World, asked: ReadSide) -> None:
    """It is a defect of ours, and is told as one."""

    async def wrong(view: View) -> object:
        return await view.rows("SELECT no_such_column FROM tallies")

    await read_side.add(1)
    await asked.standing([TALLIES], min_position=1, wait_s=30)
    with pytest.raises(StatementFailed):
        await asked.ask(ProjectionQuery("wrong", (TALLIES,), wrong), read_side.tenant)


STEPS = replace(TALLIES, name="steps")


async def copied_in_steps(read_side: World, position: int) -> None:
    """A second projection of the same rows, which goes by steps of 4 and stands at a position."""
    with read_side.owner() as owner:
        owner.execute("INSERT INTO erp.projections (projection) VALUES ('steps')")
        owner.execute(
            """INSERT INTO erp.projection_generations
                      (projection, generation, version, definition, instance, position)
               SELECT 'steps', 1, 1, '{"select": "", "reads": {}, "step": 4}', instance, %s
                 FROM erp.projection_generations WHERE projection = 'tallies'""",
            [position],
        )
        owner.execute("UPDATE erp.projections SET serving = 1 WHERE projection = 'steps'")
    await read_side.clickhouse.command(
        """CREATE TABLE steps_g1 ENGINE = ReplacingMergeTree ORDER BY (tenant, position)
           AS SELECT * FROM tallies_g1"""
    )


async def test_what_goes_by_steps_holds_nothing_up(read_side: World, asked: ReadSide) -> None:
    """It counts as far as its steps are closed, by its checkpoint and by the position of the question."""
    instants = []
    for _ in range(11):
        await read_side.add(1)
        instants.append(datetime.now(UTC))
        await asyncio.sleep(0.001)
    await asked.standing([TALLIES], min_position=11, wait_s=30)
    await copied_in_steps(read_side, 8)

    async def counted(view: View) -> tuple[int, int]:
        (row,) = await view.rows("SELECT count() AS count FROM steps")
        return view.closed(STEPS), row["count"]

    both = ProjectionQuery("both", (TALLIES, STEPS), counted)
    assert await asked.ask(both, read_side.tenant) == ((8, 8), 11, [])
    assert await asked.ask(both, read_side.tenant, known_at=instants[8]) == ((8, 8), 9, [])
    assert await asked.ask(both, read_side.tenant, known_at=instants[6]) == ((4, 4), 7, [])
    alone = ProjectionQuery("alone", (STEPS,), counted)
    assert (await asked.ask(alone, read_side.tenant)).position == 8


async def test_how_far_behind_it_is(read_side: World) -> None:
    """In events, and in seconds since the first that is due; steps are due when they are whole."""
    asked = ReadSide(read_side.clickhouse, read_side.store)
    async with running(read_side.projector()):
        await read_side.add(1)
        await read_side.caught_up()
    await read_side.add(*[1] * 5)
    await asyncio.sleep(0.2)
    await copied_in_steps(read_side, 0)
    serving = await read_side.generation()
    assert serving is not None
    await checkpoints.block(read_side.connection, serving, 2, "a test")
    log, steps, tallies = sorted(await asked.lags())
    assert (log.projection, log.position, log.events) == ("log", 1, 5)
    assert (steps.projection, steps.position, steps.events) == ("steps", 0, 4)
    assert (tallies.projection, tallies.position, tallies.events) == ("tallies", 1, 5)
    assert (tallies.is_serving, tallies.blocked_by) == (True, 2)
    assert all(0.2 <= each.seconds < 30 for each in (log, steps, tallies))
    with read_side.owner() as owner:
        owner.execute("UPDATE erp.projection_generations SET position = 4 WHERE projection = 'steps'")
        owner.execute("UPDATE erp.projections SET serving = NULL WHERE projection = 'steps'")
    _, steps, _ = sorted(await asked.lags())
    assert (steps.position, steps.is_serving, steps.events, steps.seconds) == (4, False, 0, 0.0)


async def test_a_clock_that_stepped_back(read_side: World, asked: ReadSide) -> None:
    """Events carry on from where the clock was before: nothing waits for it, and no lag is below zero."""
    await read_side.add(1)
    with read_side.owner() as owner:
        owner.execute("UPDATE erp.clock SET floor = clock_timestamp() + interval '1 hour'")
    await read_side.add(2)
    answered = await asked.ask(TOTAL, read_side.tenant, min_position=2, wait_s=30)
    assert answered == ((3, 2), 2, [])
    assert (await asked.ask(TOTAL, read_side.tenant, known_at=datetime.now(UTC))).answer == (1, 1)
    await read_side.caught_up()
    assert {(each.events, each.seconds) for each in await asked.lags()} == {(0, 0.0)}
