"""The projector: whatever happens to ClickHouse, Postgres, Kafka or itself, the answers come right."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from eventstore.checkpoint import read_page
from eventstore.cloudevents import LogEvent
from eventstore.leaf import leaf_hash
from projections import checkpoints, log_copy, tables
from projections.clickhouse import UNKNOWN_TABLE, StatementFailed
from projections.declaration import Projection
from projections.settling import LogTooShort
from tests.eventstore.tally import append, blank
from tests.projections.world import CODEC, TALLIES, World, running
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def positions(version: int = 1) -> Projection:
    """A projection that reads any amount, as long as the schema version is this one."""
    file = Path(__file__).with_name("positions.sql")
    return Projection.of("positions", file, version=1, reads={"test.tally.added": version})


async def generation_after(world: World, before: int) -> bool:
    """Whether a later generation answers."""
    serving = await world.generation()
    return serving is not None and serving.generation > before


async def has_rows(world: World, count: int) -> bool:
    """Whether the table that answers holds so many."""
    serving = await world.generation()
    if serving is None:
        return False
    try:
        return len(await world.amounts_in(serving)) == count
    except StatementFailed as error:
        if error.code != UNKNOWN_TABLE:
            raise
        return False  # it was given up between the two questions


async def stands_before(world: World, position: int, projection: str = TALLIES.name) -> bool:
    """Whether its newest generation cannot read this event."""
    newest = (await checkpoints.generations(world.connection, projection))[:1]
    return bool(newest) and newest[0].blocked_by == position


def restore(world: World, events_up_to: int, *, read_side_at: int | None) -> None:
    """Postgres as it was when the log ended there, and the read side stood there (None: left as it is)."""
    with world.owner() as owner, owner.transaction():
        owner.execute("ALTER TABLE erp.events DISABLE TRIGGER ALL")
        owner.execute("DELETE FROM erp.events WHERE position > %s", [events_up_to])
        owner.execute("DELETE FROM erp.commands WHERE position > %s", [events_up_to])
        owner.execute("ALTER TABLE erp.events ENABLE ALWAYS TRIGGER append_only_rows")
        if read_side_at is not None:
            owner.execute("UPDATE erp.log_copy SET position = %s", [read_side_at])
            owner.execute("UPDATE erp.projection_generations SET position = %s", [read_side_at])


def numbered(*amounts: int) -> list[tuple[int, Decimal]]:
    """These amounts, at positions from 1."""
    return list(enumerate(map(Decimal, amounts), start=1))


async def test_what_was_appended_is_projected_and_stays_so(read_side: World) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        await read_side.caught_up()
        await read_side.add(3)
        await read_side.caught_up()
    assert await read_side.amounts() == numbered(1, 2, 3)
    async with running(read_side.projector()):
        await read_side.add(4)
        serving = await read_side.caught_up()
    assert serving.generation == 1
    assert await read_side.amounts() == numbered(1, 2, 3, 4)


async def test_kafka_brings_rows_and_the_store_the_rest(read_side: World) -> None:
    """Rows that came before the projector looked are used; a gap between them is fetched."""
    await read_side.add(*range(1, 11))
    await log_copy.prepare(read_side.clickhouse)
    events = await read_page(read_side.connection, 0, 100, 1 << 20)
    await log_copy.write(read_side.clickhouse, [each for each in events if each.event.position != 5], CODEC)
    projector = read_side.projector()
    async with running(projector):
        await read_side.caught_up()
        await eventually(lambda: projector.status.healed == 1)
    assert await read_side.amounts() == numbered(*range(1, 11))


async def test_what_comes_twice_counts_once(read_side: World) -> None:
    await read_side.add(1, 2, 3)
    async with running(read_side.projector()):
        await read_side.caught_up()
        for _ in range(3):
            events = await read_page(read_side.connection, 0, 100, 1 << 20)
            await log_copy.write(read_side.clickhouse, events, CODEC)
        await read_side.add(4)
        await read_side.caught_up()
    assert await read_side.amounts() == numbered(1, 2, 3, 4)


async def test_a_row_that_is_not_the_stores_is_never_projected(read_side: World) -> None:
    """Somebody writes into the log copy what never happened: the leaf hash gives it away."""
    await read_side.add(1, 2)
    await log_copy.prepare(read_side.clickhouse)
    first, second = await read_page(read_side.connection, 0, 2, 1 << 20)
    forged = second.event._replace(data=second.event.data.replace(b'"2"', b'"2000"'))
    assert forged.data != second.event.data
    await log_copy.write(read_side.clickhouse, [first, LogEvent(forged, leaf_hash(forged))], CODEC)
    async with running(read_side.projector()):
        await read_side.caught_up()
    assert await read_side.amounts() == numbered(1, 2)


async def test_a_wiped_clickhouse_is_filled_anew(read_side: World) -> None:
    await read_side.add(1, 2, 3)
    async with running(read_side.projector()):
        before = await read_side.caught_up()
        for table in ("log", "erp_instance", before.table):
            await tables.drop(read_side.clickhouse, [table])
        await read_side.add(4)
        await read_side.caught_up()
        await eventually(lambda: has_rows(read_side, 4))
    assert await read_side.amounts() == numbered(1, 2, 3, 4)


async def test_a_clickhouse_from_an_older_copy_is_brought_up_again(read_side: World) -> None:
    """The same id, and fewer rows than were there: nothing answers until all is made anew."""
    await read_side.add(*range(1, 9))
    async with running(read_side.projector()):
        before = await read_side.caught_up()
    for table in ("log", before.table):
        await tables.forget_after(read_side.clickhouse, table, 3)
    async with running(read_side.projector()):
        await eventually(lambda: has_rows(read_side, 8))
    assert await read_side.amounts() == numbered(*range(1, 9))


async def test_a_table_that_is_gone_is_made_anew(read_side: World) -> None:
    await read_side.add(1, 2)
    async with running(read_side.projector()):
        before = await read_side.caught_up()
    await tables.drop(read_side.clickhouse, [before.table])
    async with running(read_side.projector()):
        await eventually(lambda: generation_after(read_side, before.generation))
    assert await read_side.amounts() == numbered(1, 2)


async def test_postgres_restored_to_an_earlier_point(read_side: World) -> None:
    """What ClickHouse has beyond it never happened, and other events take those positions."""
    await read_side.add(1, 2, 3)
    async with running(read_side.projector()):
        await read_side.caught_up()
        await read_side.add(100, 200, 300)
        await read_side.caught_up()
    restore(read_side, 3, read_side_at=2)
    await read_side.add(4)
    async with running(read_side.projector()):
        await read_side.add(5)
        await read_side.caught_up()
    assert await read_side.amounts() == numbered(1, 2, 3, 4, 5)


async def test_postgres_restored_under_a_running_projector(read_side: World) -> None:
    await read_side.add(1, 2, 3)
    async with running(read_side.projector()):
        await read_side.caught_up()
        await read_side.add(100, 200)
        await read_side.caught_up()
        restore(read_side, 3, read_side_at=3)
        await read_side.add(4)
        await eventually(lambda: has_rows(read_side, 4))
    assert await read_side.amounts() == numbered(1, 2, 3, 4)


async def test_postgres_restored_in_part_is_for_a_person_to_decide(read_side: World) -> None:
    await read_side.add(1, 2, 3)
    async with running(read_side.projector()):
        await read_side.caught_up()
    restore(read_side, 2, read_side_at=None)
    with pytest.raises(LogTooShort, match="erp projections reset"):
        await read_side.projector().run()


async def test_an_event_that_cannot_be_read_is_stood_before_and_discarded(read_side: World) -> None:
    await read_side.add(1, 2)
    await append(read_side.store, read_side.tenant, blank().add(Decimal("NaN")))
    await read_side.add(4)
    async with running(read_side.projector()):
        await eventually(lambda: stands_before(read_side, 3))
        assert await read_side.generation() is None, "it never had all that there was"
        await checkpoints.discard(read_side.connection, "tallies", 3, reason="NaN", by="tester")
        await read_side.caught_up()
    assert await read_side.amounts() == [(1, Decimal(1)), (2, Decimal(2)), (4, Decimal(4))]


async def test_an_unreadable_event_holds_up_its_projection_and_no_other(read_side: World) -> None:
    """The one that it blocks goes on answering for all that came before."""
    await read_side.add(1, 2)
    async with running(read_side.projector(TALLIES, positions())):
        await read_side.caught_up()
        await append(read_side.store, read_side.tenant, blank().add(Decimal("Infinity")))
        await read_side.add(4)
        await eventually(lambda: stands_before(read_side, 3))
        assert (await read_side.caught_up("positions")).position == 4
        serving = await read_side.generation()
        assert serving is not None
        assert serving.position == 2
        assert serving.blocked_why is not None
    assert await read_side.amounts() == numbered(1, 2)


async def test_a_table_that_cannot_be_made_holds_up_no_other_projection(read_side: World) -> None:
    good = positions()
    bad = replace(good, name="bad", create="CREATE TABLE bad (position Nonsense) ENGINE = Nonsense")
    await read_side.add(1)
    async with running(read_side.projector(bad, good)):
        assert (await read_side.caught_up("positions")).position == 1
    assert await read_side.generation("bad") is None


async def test_an_event_of_an_unknown_schema_version_is_not_guessed_at(read_side: World) -> None:
    await read_side.add(1)
    async with running(read_side.projector(positions(version=2))):
        await eventually(lambda: stands_before(read_side, 1, "positions"))


async def test_of_two_projectors_one_is_active_and_the_other_takes_its_place(read_side: World) -> None:
    first, second = read_side.projector(), read_side.projector()
    async with running(first, second):
        await read_side.add(1)
        await read_side.caught_up()
        assert first.status.active != second.status.active
        active, other = (first, second) if first.status.active else (second, first)
        active.stop()
        await read_side.add(2)
        await read_side.caught_up()
        await eventually(lambda: other.status.active)
    assert await read_side.amounts() == numbered(1, 2)


async def test_a_lost_database_session_is_got_over(read_side: World) -> None:
    async with running(read_side.projector()):
        await read_side.add(1)
        await read_side.caught_up()
        with read_side.owner() as owner:
            owner.execute(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = 'erp worker' AND datname = current_database()"""
            )
        await read_side.add(2)
        await read_side.caught_up()
    assert await read_side.amounts() == numbered(1, 2)


async def test_rows_that_a_power_loss_took_from_a_table_come_back(read_side: World) -> None:
    """A ClickHouse that was started since is not believed to have all that it acknowledged."""
    await read_side.add(1, 2, 3)
    async with running(read_side.projector()):
        serving = await read_side.caught_up()
    await tables.forget_after(read_side.clickhouse, serving.table, 1)
    with read_side.owner() as owner:
        owner.execute("UPDATE erp.projection_generations SET moved_at = '2020-01-01'")
    async with running(read_side.projector()):
        await eventually(lambda: has_rows(read_side, 3))
    assert await read_side.amounts() == numbered(1, 2, 3)
