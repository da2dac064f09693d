"""How far the read side has come, as Postgres keeps it: the log copy's watermark, and for each projection
which generation answers, where each generation stands, and which events were discarded.

Every move is a compare-and-set: who holds an outdated idea of things moves nothing.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from projections.declaration import Definition, Projection, table_of

Connection = psycopg.AsyncConnection[Any]

_GENERATION: Final = (
    "projection, generation, version, definition, instance, position, blocked_by, blocked_why"
)


class Moved(Exception):
    """Somebody else has moved it, or it serves no more: look again."""


class LogCopy(NamedTuple):
    """Everything up to `position` is in the log copy of ClickHouse `instance` (None: none was used yet)."""

    instance: UUID | None
    position: int


class Generation(NamedTuple):
    """One filling of a projection's table."""

    projection: str
    generation: int
    version: int
    definition: Definition
    instance: UUID
    position: int
    blocked_by: int | None
    blocked_why: str | None

    @property
    def table(self) -> str:
        """Its table in ClickHouse."""
        return table_of(self.projection, self.generation)

    def is_by(self, projection: Projection) -> bool:
        """Whether it is made by what the projection says today."""
        return self.version == projection.version and self.definition == projection.definition


class Standing(NamedTuple):
    """Which generation of a projection answers, and which one is kept to go back to."""

    projection: str
    serving: int | None
    previous: int | None


async def log_copy(connection: Connection) -> LogCopy:
    """The watermark."""
    cursor = await connection.execute("SELECT instance, position FROM erp.log_copy", prepare=True)
    row = await cursor.fetchone()
    assert row is not None, "the migration put it there"
    return LogCopy(*row)


async def move_log_copy(connection: Connection, now: LogCopy, position: int) -> LogCopy:
    """The watermark, moved on.

    Raises:
        Moved: it is elsewhere.
    """
    cursor = await connection.execute(
        """UPDATE erp.log_copy SET position = %s, moved_at = clock_timestamp()
            WHERE instance IS NOT DISTINCT FROM %s AND position = %s""",
        [position, now.instance, now.position],
        prepare=True,
    )
    if cursor.rowcount != 1:
        raise Moved
    return now._replace(position=position)


async def pass_what_is_the_stores(
    connection: Connection, now: LogCopy, position: int, leaf_hashes: bytes
) -> LogCopy | None:
    """The watermark, moved on if these are the leaf hashes that the store has up to there, one after the
    other; None: they are not, or it is elsewhere. One question instead of three.
    """
    cursor = await connection.execute(
        """UPDATE erp.log_copy SET position = %s, moved_at = clock_timestamp()
            WHERE instance IS NOT DISTINCT FROM %s AND position = %s
              AND (SELECT string_agg(leaf_hash, ''::bytea ORDER BY position)
                     FROM erp.events WHERE position > %s AND position <= %s) = %s""",
        [position, now.instance, now.position, now.position, position, leaf_hashes],
        prepare=True,
    )
    return now._replace(position=position) if cursor.rowcount == 1 else None


async def begin_log_copy(connection: Connection, instance: UUID | None, position: int) -> LogCopy:
    """The watermark of another ClickHouse (None: of one that is not known yet), or of one that has lost rows:
    nothing else counts any more.
    """
    await connection.execute(
        "UPDATE erp.log_copy SET instance = %s, position = %s, moved_at = clock_timestamp()",
        [instance, position],
    )
    return LogCopy(instance, position)


async def standings(connection: Connection) -> dict[str, Standing]:
    """Which generation of each projection answers."""
    cursor = await connection.execute(
        "SELECT projection, serving, previous FROM erp.projections", prepare=True
    )
    return {row[0]: Standing(*row) for row in await cursor.fetchall()}


async def generations(connection: Connection, projection: str) -> list[Generation]:
    """All generations of a projection, the newest first."""
    cursor = await connection.execute(
        f"""SELECT {_GENERATION} FROM erp.projection_generations
             WHERE projection = %s ORDER BY generation DESC""",  # noqa: S608 - names of ours
        [projection],
        prepare=True,
    )
    return [_generation(row) for row in await cursor.fetchall()]


async def begin_generation(connection: Connection, projection: Projection, instance: UUID) -> Generation:
    """A new generation at position 0, which does not answer yet. Its number was never given before."""
    cursor = await connection.execute(
        f"""WITH numbered AS (
                INSERT INTO erp.projections AS p (projection, last_generation) VALUES (%s, 1)
                    ON CONFLICT (projection) DO UPDATE SET last_generation = p.last_generation + 1
                RETURNING projection, last_generation)
            INSERT INTO erp.projection_generations (projection, generation, version, definition, instance)
            SELECT projection, last_generation, %s, %s, %s FROM numbered
            RETURNING {_GENERATION}""",  # noqa: S608 - names of ours
        [projection.name, projection.version, projection.definition.to_json(), instance],
    )
    row = await cursor.fetchone()
    assert row is not None, "it was inserted"
    return _generation(row)


async def move(connection: Connection, now: Generation, position: int, *, serving: bool = True) -> Generation:
    """The generation, moved on, and blocked no more; if it is `serving`, only while no other one answers.

    Raises:
        Moved: it is elsewhere, or another one answers in its place.
    """
    cursor = await connection.execute(
        """UPDATE erp.projection_generations g
              SET position = %s, blocked_by = NULL, blocked_why = NULL, moved_at = clock_timestamp()
            WHERE projection = %s AND generation = %s AND position = %s
              AND NOT (%s AND EXISTS (SELECT FROM erp.projections p
                                       WHERE p.projection = g.projection AND p.serving <> g.generation))""",
        [position, now.projection, now.generation, now.position, serving],
        prepare=True,
    )
    if cursor.rowcount != 1:
        raise Moved
    return now._replace(position=position, blocked_by=None, blocked_why=None)


async def was_moved_before(connection: Connection, now: Generation, seconds_ago: float) -> bool:
    """Whether the generation was last moved longer ago than that."""
    cursor = await connection.execute(
        """SELECT clock_timestamp() - moved_at > make_interval(secs => %s) FROM erp.projection_generations
            WHERE projection = %s AND generation = %s""",
        [seconds_ago, now.projection, now.generation],
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def has_what_was_discarded(connection: Connection, now: Generation) -> bool:
    """Whether it read an event that was taken out of its projection afterwards."""
    cursor = await connection.execute(
        """SELECT EXISTS (SELECT FROM erp.projection_discards d
                            JOIN erp.projection_generations g USING (projection)
                           WHERE projection = %s AND g.generation = %s
                             AND d.position <= g.position AND d.discarded_at > g.made_at)""",
        [now.projection, now.generation],
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def block(connection: Connection, now: Generation, blocked_by: int, why: str) -> Generation:
    """The generation, standing before an event that it cannot read."""
    await connection.execute(
        """UPDATE erp.projection_generations SET blocked_by = %s, blocked_why = %s
            WHERE projection = %s AND generation = %s AND position = %s""",
        [blocked_by, why, now.projection, now.generation, now.position],
    )
    return now._replace(blocked_by=blocked_by, blocked_why=why)


async def switch(connection: Connection, new: Generation, *, at_least: int = 0) -> bool:
    """Let it answer from now on; what answered before is kept as `previous`. False while it stands before
    what answers now (by more than its steps make it), or before `at_least`: no answer may go back in time.
    """
    cursor = await connection.execute(
        """UPDATE erp.projections p
              SET previous = p.serving, serving = g.generation, switched_at = clock_timestamp()
             FROM erp.projection_generations g
            WHERE p.projection = %s AND g.projection = p.projection AND g.generation = %s
              AND p.serving IS DISTINCT FROM g.generation
              AND g.position >= %s
              AND NOT EXISTS (SELECT FROM erp.projection_generations s
                               WHERE s.projection = p.projection AND s.generation = p.serving
                                 AND s.instance = g.instance AND s.position - s.position
                                     %% (g.definition ->> 'step')::bigint > g.position)""",
        [new.projection, new.generation, at_least],
    )
    return cursor.rowcount == 1


async def stop_serving(connection: Connection, projection: str | None = None) -> None:
    """No generation of it (of any projection) answers any more: what is in their tables is not known."""
    await connection.execute(
        """UPDATE erp.projections SET serving = NULL, previous = NULL
            WHERE %(projection)s::text IS NULL OR projection = %(projection)s""",
        {"projection": projection},
    )


async def forget_generations(connection: Connection, projection: str, kept: Sequence[int]) -> None:
    """Forget all generations but these; their tables may be dropped now."""
    async with connection.transaction():
        await connection.execute(
            """UPDATE erp.projections SET previous = NULL
                WHERE projection = %s AND NOT previous = ANY (%s)""",
            [projection, list(kept)],
        )
        await connection.execute(
            "DELETE FROM erp.projection_generations WHERE projection = %s AND NOT generation = ANY (%s)",
            [projection, list(kept)],
        )


async def discards(connection: Connection, projection: str) -> list[int]:
    """The positions that were taken out of it, in order."""
    cursor = await connection.execute(
        "SELECT position FROM erp.projection_discards WHERE projection = %s ORDER BY position",
        [projection],
        prepare=True,
    )
    return [position for (position,) in await cursor.fetchall()]


async def discard(connection: Connection, projection: str, position: int, *, reason: str, by: str) -> None:
    """Take an event out of a projection, for good."""
    await connection.execute(
        """INSERT INTO erp.projection_discards (projection, position, reason, discarded_by)
           VALUES (%s, %s, %s, %s)""",
        [projection, position, reason, by],
    )


async def head(connection: Connection) -> int:
    """The last position of the log."""
    cursor = await connection.execute(
        "SELECT coalesce((SELECT position FROM erp.events ORDER BY position DESC LIMIT 1), 0)", prepare=True
    )
    row = await cursor.fetchone()
    assert row is not None, "a query of scalars"
    return int(row[0])


def _generation(row: Sequence[Any]) -> Generation:
    name, number, version, definition, *rest = row
    return Generation(name, number, version, Definition.from_json(definition), *rest)
