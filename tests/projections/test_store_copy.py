"""The log copy out of the store: byte for byte as by way of Python, and only where it is amiss."""

from datetime import timedelta
from typing import Any

import pytest

from eventstore.checkpoint import read_page
from eventstore.codec import Codec
from eventstore.upcasts import Upcasts
from projections import digests, log_copy, tables
from projections.digests import Range
from projections.store_copy import StoreCopy
from tests.eventstore.tally import Tally
from tests.projections.rows import NOON, event, store
from tests.projections.world import CODEC, World, running
from tests.waiting import eventually

pytestmark = pytest.mark.integration

ODD = "tab\t newline\n return\r\n backslash \\ \\N \\t \\x41 'quotes\" \b\f\v\x1b\x7f ✓ 😀 \\"
UPCASTS = Upcasts()


@UPCASTS.of("test.tally.added", 0)
def _note_added(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "note": ODD}


async def everything(world: World) -> list[tuple[Any, ...]]:
    """The log copy, whole, its texts as bytes."""
    names = ", ".join(f"hex(toString({name}))" for name in log_copy.COLUMNS)
    return await world.clickhouse.rows(f"SELECT {names} FROM log FINAL ORDER BY position")


async def copied_both_ways(world: World, codec: Codec = CODEC) -> list[list[tuple[Any, ...]]]:
    """The log copy as it is made in bulk, and as it is made by way of Python."""
    await log_copy.prepare(world.clickhouse)
    head = await world.head()
    assert await StoreCopy(world.worker_url, world.clickhouse, codec).copy(0, head) == head
    in_bulk = await everything(world)
    await world.clickhouse.command("TRUNCATE TABLE log")
    await log_copy.write(world.clickhouse, await read_page(world.connection, 0, head, 1 << 30), codec)
    return [in_bulk, await everything(world)]


async def test_rows_are_byte_for_byte_those_of_the_other_way(read_side: World) -> None:
    store(
        read_side,
        [
            event(read_side, 1),
            event(read_side, 2, data=ODD.encode(), metadata=ODD.encode(), series=ODD, number=2**62, type=ODD),
            event(read_side, 3, data=b"", metadata=b"", stream_type=ODD, version=2**62, tenant_seq=2**62),
            event(read_side, 4, encoding="binary", data=bytes(range(256)), metadata=b"\0\xff"),
            event(read_side, 5, schema_version=0, data=b'{"amount":"5"}'),
            event(read_side, 6, schema_version=7),
            event(read_side, 7, data=b"\\N", metadata=b"\\\\N\n\\.\n", recorded_at=NOON.replace(year=2299)),
            event(
                read_side,
                8,
                recorded_at=NOON + timedelta(days=99999),
                number=8,
                series="general/2026",
                encoding="odd\t",
            ),
        ],
    )
    in_bulk, by_python = await copied_both_ways(read_side, Codec([Tally], UPCASTS))
    assert in_bulk == by_python
    assert len(in_bulk) == 8


async def test_json_that_is_no_text_at_all_goes_the_other_way(read_side: World) -> None:
    store(
        read_side,
        [event(read_side, 1), event(read_side, 2, data=b"\xff\xfe"), event(read_side, 3, metadata=b"\0")],
    )
    in_bulk, by_python = await copied_both_ways(read_side)
    assert in_bulk == by_python
    assert len(in_bulk) == 3


async def test_store_and_log_copy_have_one_digest(read_side: World) -> None:
    """Upcast rows too: ClickHouse makes the hash anew from its columns."""
    store(
        read_side,
        [
            event(read_side, 1, number=1, series=ODD),
            event(read_side, 2, schema_version=0),
            event(read_side, 3, encoding="binary", data=b"\0"),
        ],
    )
    codec = Codec([Tally], UPCASTS)
    await copied_both_ways(read_side, codec)
    within = Range(0, 3)
    stored = await digests.digest_of_store(read_side.connection, codec, within)
    assert stored == await digests.digest_of_log_copy(read_side.clickhouse, within)
    assert await digests.rows_of_store(read_side.connection, codec, within) == await digests.rows_of_log_copy(
        read_side.clickhouse, within
    )


async def test_only_what_is_amiss_is_copied_again(read_side: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "RANGE_EVENTS", 4)
    await read_side.add(*range(1, 19))
    await log_copy.prepare(read_side.clickhouse)
    copy = StoreCopy(read_side.worker_url, read_side.clickhouse, CODEC)
    reached: list[int] = []

    async def repair() -> int:
        reached.clear()

        async def note(position: int) -> None:
            reached.append(position)

        return await copy.repair(read_side.connection, 0, 18, note)

    assert await repair() == 18
    whole = await everything(read_side)
    assert await repair() == 0
    assert reached[-1] == 18
    await forge(read_side, 6, "data", "concat(data, ' ')")
    await forge(read_side, 18, "leaf_hash", "unhex(repeat('00', 32))")
    await read_side.clickhouse.command("DELETE FROM log WHERE position = 9")
    assert await repair() == 4 + 4 + 2
    assert await everything(read_side) == whole
    await tables.forget_after(read_side.clickhouse, "log", 0)
    assert await repair() == 18
    assert await everything(read_side) == whole


async def forge(world: World, position: int, column: str, value: str) -> None:
    """Write a row of the log copy anew with another value in one column."""
    names = ", ".join(log_copy.COLUMNS)
    changed = ", ".join(
        f"({value}) AS {name}" if name == column else f"log.{name}" for name in log_copy.COLUMNS
    )
    await world.clickhouse.command(
        f"INSERT INTO log ({names}) SELECT {changed} FROM log FINAL WHERE position = {position}"
    )


async def test_what_the_projector_fetches_itself_is_the_same(read_side: World) -> None:
    """A long stretch goes in bulk, a short one does not."""
    store(read_side, [event(read_side, position) for position in range(1, 2502)])
    projector = read_side.projector()
    async with running(projector):
        await read_side.caught_up()
        await eventually(lambda: projector.status.healed == 2501)
        by_projector = await everything(read_side)
        within = Range(0, 2501)
        stored = await digests.digest_of_store(read_side.connection, CODEC, within)
        assert stored == await digests.digest_of_log_copy(read_side.clickhouse, within)
        await read_side.add(7)
        await read_side.caught_up()
    assert by_projector == (await copied_both_ways(read_side))[0][:2501]
    assert len(await read_side.amounts()) == 2502
