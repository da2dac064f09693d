"""The tables of generations in ClickHouse: made, cut back, dropped."""

from collections.abc import Collection, Iterable

from projections import checkpoints
from projections.checkpoints import Connection, Generation
from projections.clickhouse import ClickHouse
from projections.declaration import Projection
from projections.log_copy import Whereabouts


async def begin(
    clickhouse: ClickHouse, connection: Connection, projection: Projection, place: Whereabouts
) -> Generation:
    """A new generation of a projection, with its empty table."""
    generation = await checkpoints.begin_generation(connection, projection, place.instance)
    # One of that name may be left of a Postgres that was restored to an earlier point.
    await drop(clickhouse, [generation.table])
    await clickhouse.command(projection.create_table(generation.table))
    return generation


async def exists(clickhouse: ClickHouse, table: str) -> bool:
    """Whether there is such a table."""
    ((found,),) = await clickhouse.rows(f"EXISTS TABLE {table}")
    return bool(found)


async def drop_forgotten(clickhouse: ClickHouse, connection: Connection, projections: Collection[str]) -> int:
    """Drop the tables of generations that nobody knows of any more, whoever forgot them; returns how many."""
    # In this order: one that is begun meanwhile is known before its table is there.
    there = await generations_of(clickhouse, projections)
    known = {each.table for name in projections for each in await checkpoints.generations(connection, name)}
    forgotten = [table for table in there if table not in known]
    await drop(clickhouse, forgotten)
    return len(forgotten)


async def generations_of(clickhouse: ClickHouse, projections: Collection[str]) -> list[str]:
    """The tables of all generations that are there, whether anybody knows of them or not."""
    rows = await clickhouse.rows(
        """SELECT name FROM system.tables WHERE database = currentDatabase()
            AND has({projections:Array(String)}, replaceRegexpOne(name, '_g[0-9]+$', ''))
            AND match(name, '_g[0-9]+$')""",
        {"projections": list(projections)},
    )
    return [name for (name,) in rows]


async def forget_after(clickhouse: ClickHouse, table: str, position: int) -> None:
    """Take out the rows beyond a position: of a range that was begun, or of events that never happened."""
    beyond = await clickhouse.rows(
        f"SELECT 1 FROM {table} WHERE position > {{position:UInt64}} LIMIT 1",  # noqa: S608 - names of ours
        {"position": position},
    )
    if beyond:
        await clickhouse.command(
            f"ALTER TABLE {table} DELETE WHERE position > {position} SETTINGS mutations_sync = 2"
        )


async def drop(clickhouse: ClickHouse, tables: Iterable[str]) -> None:
    """Drop them, where they are there; a query that reads one ends first."""
    for table in tables:
        await clickhouse.command(f"DROP TABLE IF EXISTS {table} SYNC")
