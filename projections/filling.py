"""Fills the table of a generation: runs its SELECT over the next range of positions, then moves its
checkpoint.

In this order, so that a crash repeats a range and never loses one; the table is keyed so that a repeat
changes nothing. An event that the SELECT cannot read is found by bisection, and the generation stands before
it.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from projections import checkpoints, log_copy, tables
from projections.checkpoints import Connection, Generation
from projections.clickhouse import UNKNOWN_TABLE, ClickHouse, ReadSideDown, StatementFailed
from projections.declaration import Definition
from projections.log_copy import Whereabouts

RANGE_EVENTS_MAX: Final = 262_144
_WHY_LENGTH_MAX: Final = 500
# ClickHouse flushes nothing: a power loss may take rows of the last half minute. So many positions are that,
# at any speed that it is fed with here.
_REPEATED_EVENTS: Final = 2 * RANGE_EVENTS_MAX

_SETTINGS: Final[Mapping[str, Any]] = {
    # One INSERT … SELECT is one block where it can be, so that small ranges make one small part each.
    "min_insert_block_size_rows": 1_048_576,
    # A range gives each key once, so there is nothing to replace within a block: looking for it row by row
    # took as long as all the rest. What is there from before gives way when it is read (FINAL) or merged.
    "optimize_on_insert": 0,
    # Threads cost a small range more than they bring; a long one takes all there are.
    "max_insert_threads": 2,
}


class Filling:
    """A generation that is being filled.

    Args:
        discarded: positions to pass over.
        connection: as erp_worker, in autocommit.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        connection: Connection,
        generation: Generation,
        discarded: Collection[int] = (),
    ) -> None:
        self._clickhouse = clickhouse
        self._connection = connection
        self._sql = rows_sql(generation.definition, discarded)
        self._columns = ""
        self.generation = generation
        """As it stands."""

    def whole_steps(self, position: int) -> int:
        """The last position at or before this one where the generation can stand."""
        return position - position % self.generation.definition.step

    async def settle(self, place: Whereabouts) -> None:
        """Make its table what its checkpoint says, no more and no less, before it is taken up again."""
        await tables.forget_after(self._clickhouse, self.generation.table, self.generation.position)
        if await checkpoints.was_moved_before(self._connection, self.generation, place.uptime_s + 1):
            after = self.whole_steps(max(0, self.generation.position - _REPEATED_EVENTS))
            if after < self.generation.position:
                with suppress(StatementFailed):
                    await self.insert(after, self.generation.position)

    async def advance(self, up_to: int, *, serving: bool, has_nothing: bool = False) -> None:
        """Bring it to `up_to`, or to the last whole step before it, or to the event that it cannot read; at
        most `RANGE_EVENTS_MAX` further.

        Args:
            up_to: a position that the watermark has reached.
            serving: give up when another generation has come to serve in its place.
            has_nothing: the range is known to hold no event that it reads.

        Raises:
            Moved: somebody else brings it on.
            ReadSideDown: ClickHouse cannot be reached, or was wiped.
        """
        up_to = self.whole_steps(min(up_to, self.generation.position + RANGE_EVENTS_MAX))
        if up_to <= self.generation.position:
            return
        if not has_nothing:
            try:
                await self.insert(self.generation.position, up_to)
            except StatementFailed as error:
                if not await tables.exists(self._clickhouse, log_copy.NAME):
                    raise ReadSideDown(str(error)) from error
                await self._stand_before_the_first_unreadable(up_to, error)
                return
        self.generation = await checkpoints.move(self._connection, self.generation, up_to, serving=serving)

    async def insert(self, after: int, up_to: int) -> None:
        """Run the SELECT over a range and insert what it gives.

        Raises:
            StatementFailed: it cannot be read.
            ReadSideDown: ClickHouse cannot be reached.
        """
        if not self._columns:
            # Columns go by their names, not by their order.
            described = await self._clickhouse.rows(f"DESCRIBE TABLE ({self._sql})", {"after": 0, "up_to": 0})
            self._columns = ", ".join(str(row[0]) for row in described)
        await self._clickhouse.command(
            f"INSERT INTO {self.generation.table} ({self._columns}) {self._sql}",
            {"after": after, "up_to": up_to},
            _SETTINGS,
        )

    async def _stand_before_the_first_unreadable(self, up_to: int, error: StatementFailed) -> None:
        if error.code == UNKNOWN_TABLE:
            for table in (log_copy.NAME, self.generation.table):
                if not await tables.exists(self._clickhouse, table):
                    raise ReadSideDown(f"the table {table} is gone") from error
        position, reason = await self._first_unreadable(up_to, error)
        readable = self.whole_steps(position - 1)
        if readable > self.generation.position:
            await self.insert(self.generation.position, readable)
            self.generation = await checkpoints.move(
                self._connection, self.generation, readable, serving=False
            )
        why = str(reason)[:_WHY_LENGTH_MAX]
        self.generation = await checkpoints.block(self._connection, self.generation, position, why)

    async def _first_unreadable(self, up_to: int, error: StatementFailed) -> tuple[int, StatementFailed]:
        """The first position that the SELECT cannot read, and what ClickHouse says to it."""
        good, bad = self.generation.position, up_to
        reason = await self._refusal(good, bad)
        if reason is None:
            # The rows can be read and could not be stored, or the trouble has passed: wait and try again.
            raise ReadSideDown(str(error))
        while good + 1 < bad:
            middle = (good + bad) // 2
            refusal = await self._refusal(good, middle)
            if refusal is None:
                good = middle
            else:
                bad, reason = middle, refusal
        return bad, reason

    async def _refusal(self, after: int, up_to: int) -> StatementFailed | None:
        """What ClickHouse says to reading this range; None when it can."""
        try:
            await self._clickhouse.command(f"{self._sql} FORMAT Null", {"after": after, "up_to": up_to})
        except StatementFailed as error:
            return error
        return None


def rows_sql(definition: Definition, discarded: Collection[int] = ()) -> str:
    """The rows that follow from the events of a range of positions (`{after:UInt64}`, `{up_to:UInt64}`): the
    one place that names the range, takes each event once, and leaves out what was discarded.
    """
    types = ", ".join(_quoted(each) for each in definition.reads)
    readable = ", ".join(f"({_quoted(each)}, {version})" for each, version in definition.reads.items())
    left_out = f"AND position NOT IN ({', '.join(map(str, discarded))})" if discarded else ""
    return f"""
        WITH events AS (
            SELECT * FROM {log_copy.NAME} FINAL
             WHERE position > {{after:UInt64}} AND position <= {{up_to:UInt64}}
               AND type IN ({types}) {left_out}
               AND NOT throwIf(type IN ({types}) AND (type, schema_version) NOT IN ({readable}),
                               'an event of a schema version that the projection does not know'))
        {definition.select}"""  # noqa: S608 - names of ours


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
