"""What a person asks of the read side, and does to it: look, verify, discard, reset."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from projections import checkpoints, digests, tables, verify
from projections.clickhouse import ClickHouse
from projections.declaration import Projection
from projections.mending import CannotDiscard, discard, reset
from projections.overview import Line, Overview
from projections.verify import Verifier
from tests.eventstore.tally import append, blank
from tests.projections.rows import event, store
from tests.projections.test_rebuild import BY_FOURS, brought_up, rebuilt
from tests.projections.test_store_copy import forge
from tests.projections.world import CODEC, TALLIES, World, running
from tests.waiting import eventually

pytestmark = pytest.mark.integration

RANGE = 8


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "RANGE_EVENTS", RANGE)
    monkeypatch.setattr(verify, "RANGE_EVENTS", RANGE)
    monkeypatch.setattr(verify, "_STRETCH_EVENTS", 2 * RANGE)
    monkeypatch.setattr(verify, "_RANGE", f"intDiv(toInt64(position) - 1, {RANGE})")


@pytest.fixture
async def filled(read_side: World) -> World:
    """Thirty events, in the log copy and in the table."""
    store(read_side, [event(read_side, position) for position in range(1, 31)])
    await brought_up(read_side)
    await rebuilt(read_side)
    return read_side


async def differences(world: World) -> list[str]:
    """What verifying finds: of the log copy, and of the table."""
    verifier = Verifier(world.connection, world.clickhouse, CODEC)
    _, of_log_copy = await verifier.log_copy()
    _, of_table = await verifier.projection("tallies")
    return [str(each) for each in (of_log_copy, of_table) if each is not None]


async def overview(world: World, *projections: Projection) -> dict[str, Line]:
    """By name, and generation where there is one."""
    lines = await Overview(world.connection, world.clickhouse, projections or (TALLIES,)).lines()
    return {f"{each.name} {each.generation or ''}".strip(): each for each in lines}


async def discarded(world: World, position: int, reason: str = "NaN") -> None:
    await discard(world.worker_url, "tallies", position, reason=reason, by="tester", name="the tests")


async def test_what_is_whole_is_found_whole(filled: World) -> None:
    looked_at: list[int] = []
    verifier = Verifier(filled.connection, filled.clickhouse, CODEC, looked_at.append)
    copied, of_log_copy = await verifier.log_copy()
    generation, of_table = await verifier.projection("tallies")
    assert (copied.position, of_log_copy) == (30, None)
    assert generation is not None
    assert (generation.position, of_table) == (30, None)
    assert sum(looked_at) == 60


async def test_it_is_whole_while_events_come_and_after_a_discard(read_side: World) -> None:
    await read_side.add(*range(20))
    async with running(read_side.projector()):
        await read_side.caught_up()
        await append(read_side.store, read_side.tenant, blank().add(Decimal("NaN")))
        for _ in range(5):
            await read_side.add(1)
            assert await differences(read_side) == []
        await eventually(lambda: stands_before(read_side, 21))
        await discarded(read_side, 21)
        await read_side.caught_up()
        assert await differences(read_side) == []
    by_steps = await rebuilt(read_side, BY_FOURS)
    assert by_steps.generation.position == 24
    assert await differences(read_side) == []


async def stands_before(world: World, position: int) -> bool:
    return any(
        each.blocked_by == position for each in await checkpoints.generations(world.connection, "tallies")
    )


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("data", "concat(log.data, ' ')", "data"),
        ("metadata", '\'{"actor":"nobody"}\'', "metadata"),
        ("tenant", "generateUUIDv4()", "tenant"),
        ("recorded_at", "log.recorded_at + INTERVAL 1 MICROSECOND", "recorded_at"),
        ("leaf_hash", "unhex(repeat('00', 32))", "leaf_hash"),
        ("series", "'general/2026'", "series"),
    ],
)
async def test_a_row_of_the_log_copy_that_was_changed(
    filled: World, column: str, value: str, found: str
) -> None:
    await forge(filled, 12, column, value)
    of_log_copy = (await differences(filled))[0]
    assert of_log_copy == f"log copy, positions 9 to 16: event 12 has another {found}"


async def test_a_row_of_the_log_copy_that_is_missing(filled: World) -> None:
    await filled.clickhouse.command("ALTER TABLE log DELETE WHERE position = 17 SETTINGS mutations_sync = 2")
    assert await differences(filled) == [
        "log copy, positions 17 to 24: event 17 is missing",
        "tallies_g1, positions 17 to 24: at position 17 it has one row, where no row would be right",
    ]


async def test_an_event_beyond_the_head(filled: World) -> None:
    await filled.clickhouse.command(
        "INSERT INTO log SELECT * REPLACE (33 AS position) FROM log FINAL LIMIT 1"
    )
    assert await differences(filled) == ["log copy, positions 31 to 33: the log ends at 30"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "INSERT INTO {t} SELECT * REPLACE (9 AS amount) FROM {t} FINAL WHERE position = 30",
            "positions 25 to 30: the row at position 30 is not what follows from the log copy",
        ),
        (
            "INSERT INTO {t} SELECT * REPLACE (generateUUIDv4() AS tenant) FROM {t} FINAL WHERE position = 2",
            "positions 1 to 8: at position 2 it has 2 rows, where one row would be right",
        ),
        (
            "INSERT INTO {t} SELECT * REPLACE (0 AS position) FROM {t} FINAL LIMIT 1",
            "positions 1 to 8: at position 0 it has one row, where no row would be right",
        ),
        (
            "ALTER TABLE {t} DELETE WHERE position = 8 SETTINGS mutations_sync = 2",
            "positions 1 to 8: at position 8 it has no row, where one row would be right",
        ),
    ],
    ids=["changed", "too many", "before all", "missing"],
)
async def test_a_row_of_a_table(filled: World, change: str, found: str) -> None:
    await filled.clickhouse.command(change.format(t="tallies_g1"))
    assert await differences(filled) == [f"tallies_g1, {found}"]


async def test_duplicates_that_are_not_merged_are_no_difference(filled: World) -> None:
    for table in ("log", "tallies_g1"):
        await filled.clickhouse.command(f"INSERT INTO {table} SELECT * FROM {table} FINAL")
    assert await differences(filled) == []


async def test_a_clickhouse_that_lost_everything(filled: World) -> None:
    await tables.drop(filled.clickhouse, ["log", "erp_instance", "tallies_g1"])
    assert await differences(filled) == [
        "log copy, positions 1 to 30: ClickHouse has nothing of ours",
        "tallies_g1, positions 1 to 30: it is not there",
    ]


async def test_only_what_stands_in_the_way_is_discarded(read_side: World) -> None:
    await read_side.add(1, 2)
    await append(read_side.store, read_side.tenant, blank().add(Decimal("NaN")))
    await read_side.add(4)
    with pytest.raises(CannotDiscard, match="there is no projection"):
        await discarded(read_side, 3)
    async with running(read_side.projector()):
        await eventually(lambda: stands_before(read_side, 3))
        with pytest.raises(CannotDiscard, match="event 2 does not stop tallies; what does: event 3"):
            await discarded(read_side, 2)
        line = (await overview(read_side))["tallies 1"]
        assert (line.status, line.serves, line.blocked_by, line.lag_events) == ("blocked", False, 3, 2)
        await discarded(read_side, 3)
        await read_side.caught_up()
        with pytest.raises(CannotDiscard, match="was taken out of tallies before"):
            await discarded(read_side, 3)
    line = (await overview(read_side))["tallies 1"]
    assert (line.status, line.serves, line.blocked_by, line.discarded) == ("serving", True, None, [3])


async def test_what_the_serving_generation_can_read_is_not_discarded(filled: World) -> None:
    strict = replace(
        TALLIES,
        definition=replace(
            TALLIES.definition,
            select=TALLIES.definition.select.replace(
                "position,", "position + throwIf(position = 5) AS position,", 1
            ),
        ),
    )
    with pytest.raises(Exception, match="cannot read event 5"):
        await rebuilt(filled, strict)
    with pytest.raises(CannotDiscard, match="tallies_g1, which answers, has read event 5"):
        await discarded(filled, 5)


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_reset_is_made_good(read_side: World, is_running: bool) -> None:
    await read_side.add(1, 2)
    await append(read_side.store, read_side.tenant, blank().add(Decimal("NaN")))
    await read_side.add(4)
    async with running(read_side.projector()):
        await eventually(lambda: stands_before(read_side, 3))
        await discarded(read_side, 3)
        await read_side.caught_up()
    async with running(*[read_side.projector()] * is_running):
        if is_running:
            await read_side.caught_up()
        await read_side.clickhouse.command("CREATE TABLE tallies_g77 AS tallies_g1")
        assert await reset(read_side.worker_url, read_side.clickhouse, name="the tests") == 2
        if not is_running:
            assert (await overview(read_side)).keys() == {"log", "tallies"}
            assert await read_side.clickhouse.rows("SELECT count() FROM log") == [(0,)]
            assert (await overview(read_side))["log"].status == "waiting"
    async with running(read_side.projector()):
        await eventually(lambda: serves(read_side))
        await read_side.caught_up()
        assert await differences(read_side) == []
    assert [position for position, _ in await read_side.amounts()] == [1, 2, 4]


async def serves(world: World) -> bool:
    return await world.generation() is not None


async def test_an_overview_of_everything(filled: World) -> None:
    newer = replace(TALLIES, version=2)
    other = replace(TALLIES, name="others")
    told = await overview(filled, newer, other)
    assert (told["log"].position, told["log"].rows, told["log"].lag_events, told["log"].lag_s) == (
        30,
        30,
        0,
        0,
    )
    assert (told["tallies 1"].status, told["tallies 1"].rows, told["tallies 1"].version) == (
        "outdated",
        30,
        1,
    )
    assert (told["others"].status, told["others"].lag_events) == ("waiting", 30)
    assert (told["log"].bytes or 0) > 0
    await rebuilt(filled, newer, keep_old=True)
    told = await overview(filled, newer)
    assert [each.status for each in told.values()] == ["serving", "serving", "kept"]
    assert [each.status for each in (await overview(filled, other)).values()][2:] == ["unknown", "unknown"]


async def test_lag_is_the_age_of_the_first_event_that_is_due(filled: World, monkeypatch: Any) -> None:
    """By whole steps where a projection goes by steps; an event of a time to come has no age."""
    await rebuilt(filled, BY_FOURS)
    store(filled, [event(filled, position) for position in range(31, 34)])
    told = await overview(filled, BY_FOURS)
    assert (told["log"].lag_events, told["tallies 2"].lag_events) == (3, 4)
    assert told["log"].lag_s > 24 * 3600
    assert told["tallies 2"].lag_s > 24 * 3600
    with filled.owner() as owner, owner.transaction():
        owner.execute("ALTER TABLE erp.events DISABLE TRIGGER ALL")
        owner.execute("UPDATE erp.events SET recorded_at = recorded_at + interval '99 years'")
    assert (await overview(filled, BY_FOURS))["log"].lag_s == 0


async def test_an_overview_without_clickhouse(filled: World) -> None:
    def nowhere() -> str:
        raise ConnectionError("no ClickHouse here")

    async with ClickHouse(nowhere) as gone:
        lines = await Overview(filled.connection, gone, [TALLIES]).lines()
    assert [(each.status, each.rows, each.position) for each in lines] == [("serving", None, 30)] * 2
