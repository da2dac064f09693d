"""Proves that the read side is what the store says: `erp projections verify`.

By ranges of positions: the log copy has every event of the store, as upcast, and nothing else; and the table
that answers for a projection is what its SELECT makes of the log copy now. It looks at what there was when it
began, while more comes.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple

from eventstore.checkpoint import read_page
from eventstore.codec import Codec
from eventstore.refusal import Refusal
from projections import checkpoints, digests, log_copy
from projections.answers import Answers, columns, digest_of
from projections.checkpoints import Connection, Generation, LogCopy
from projections.clickhouse import UNKNOWN_TABLE, ClickHouse, StatementFailed
from projections.digests import RANGE_EVENTS, Range
from projections.filling import rows_sql

Advance = Callable[[int], None]

_STRETCH_EVENTS: Final = 16 * RANGE_EVENTS
_TRIES_MAX: Final = 3
_WHY_LENGTH_MAX: Final = 300
_RANGE: Final = f"intDiv(toInt64(position) - 1, {RANGE_EVENTS})"
_NOTHING: Final = Answers(0, 0)


class Changing(Refusal):
    """The read side is being made anew: there is nothing to verify."""


class Difference(NamedTuple):
    """The first range that is not what it should be, and how."""

    what: str
    within: Range
    why: str

    def __str__(self) -> str:
        return f"{self.what}, {self.within}: {self.why}"


class Verifier:
    """Verifies a read side.

    Args:
        connection: as erp_worker.
        advance: told how many more events were looked at.
    """

    def __init__(
        self, connection: Connection, clickhouse: ClickHouse, codec: Codec, advance: Advance = lambda _: None
    ) -> None:
        self._connection = connection
        self._clickhouse = clickhouse
        self._codec = codec
        self._advance = advance

    async def log_copy(self) -> tuple[LogCopy, Difference | None]:
        """How far the log copy was looked at, and what is wrong with it.

        Raises:
            Changing: it is being made anew.
        """
        copied = await checkpoints.log_copy(self._connection)
        difference = await self._of_log_copy(copied)
        if difference is not None:
            now = await checkpoints.log_copy(self._connection)
            if now.instance != copied.instance or now.position < copied.position:
                raise Changing("the read side is being made anew: look at `erp projections list`")
        return copied, difference

    async def projection(self, name: str) -> tuple[Generation | None, Difference | None]:
        """The generation that was looked at, None when nothing answers; and what is wrong with it."""
        for left in reversed(range(_TRIES_MAX)):
            generation = await self._serving(name)
            if generation is None:
                return None, None
            try:
                difference = await self._of_generation(generation)
            except StatementFailed as error:
                if error.code != UNKNOWN_TABLE:
                    raise
                difference = Difference(generation.table, Range(0, generation.position), "it is not there")
            if difference is None or left == 0:
                return generation, difference
            now = await self._serving(name)
            if (
                now is not None
                and now.generation == generation.generation
                and now.position >= generation.position
            ):
                return generation, difference
        raise AssertionError

    # Store and log copy

    async def _of_log_copy(self, copied: LogCopy) -> Difference | None:
        try:
            place = await log_copy.whereabouts(self._clickhouse)
            last = await log_copy.last(self._clickhouse)
        except StatementFailed as error:
            if error.code != UNKNOWN_TABLE:
                raise
            nothing = Difference("log copy", Range(0, copied.position), "ClickHouse has nothing of ours")
            return nothing if copied.position else None
        if copied.position and place.instance != copied.instance:
            return Difference(
                "log copy", Range(0, copied.position), "ClickHouse is not the one that was filled"
            )
        # In this order: what comes meanwhile is in the store first.
        head = await checkpoints.head(self._connection)
        for within in digests.ranges(0, min(copied.position, head)):
            stored = await digests.digest_of_store(self._connection, self._codec, within)
            if stored != await digests.digest_of_log_copy(self._clickhouse, within):
                return Difference("log copy", within, await self._how_log_copy_differs(within))
            self._advance(within.up_to - within.after)
        beyond = max(copied.position, last.position if last is not None else 0)
        if beyond > head:
            return Difference("log copy", Range(head, beyond), f"the log ends at {head:,}")
        return None

    async def _how_log_copy_differs(self, within: Range) -> str:
        stored = await digests.rows_of_store(self._connection, self._codec, within)
        there = await digests.rows_of_log_copy(self._clickhouse, within)
        copies = dict(zip(there.positions, zip(there.columns, there.leaf_hashes, strict=True), strict=True))
        for position, *hashes in zip(*stored, strict=True):
            if position not in copies:
                return f"event {position:,} is missing"
            if copies[position] != tuple(hashes):
                return f"event {position:,} has another {await self._columns_that_differ(position)}"
        return "it was not what the store has a moment ago"

    async def _columns_that_differ(self, position: int) -> str:
        (logged,) = await read_page(self._connection, position - 1, 1, 1)
        should = log_copy.row(logged, self._codec)
        names = ", ".join(
            f"hex({name})" if isinstance(value, bytes) else name
            for name, value in zip(log_copy.COLUMNS, should, strict=True)
        )
        (there,) = await self._clickhouse.rows(
            f"SELECT {names} FROM {log_copy.NAME} FINAL WHERE position = {{position:UInt64}}",  # noqa: S608
            {"position": position},
        )
        differing = [
            name
            for name, value, found in zip(log_copy.COLUMNS, should, there, strict=True)
            if found != (value.hex().upper() if isinstance(value, bytes) else value)
        ]
        return " and ".join(differing)

    # Log copy and projection

    async def _serving(self, name: str) -> Generation | None:
        standing = (await checkpoints.standings(self._connection)).get(name)
        for each in await checkpoints.generations(self._connection, name):
            if standing is not None and each.generation == standing.serving:
                return each
        return None

    async def _of_generation(self, generation: Generation) -> Difference | None:
        discarded = await checkpoints.discards(self._connection, generation.projection)
        kinds = await columns(self._clickhouse, generation.table)
        sides = _Sides(self._clickhouse, generation, kinds, discarded)
        end = generation.position
        found = await sides.found(Range(0, end), by=_RANGE)
        step = generation.definition.step
        for stretch in _stretches(end, step * math.ceil(_STRETCH_EVENTS / step)):
            try:
                due = await sides.due(stretch, by=_RANGE)
            except StatementFailed as error:
                if error.code == UNKNOWN_TABLE:
                    raise
                return Difference(generation.table, stretch, f"its SELECT cannot read them: {_short(error)}")
            for number in range(stretch.after // RANGE_EVENTS, -(-stretch.up_to // RANGE_EVENTS)):
                if due.get(number) != found.get(number):
                    within = Range(number * RANGE_EVENTS, min(end, (number + 1) * RANGE_EVENTS))
                    return Difference(generation.table, within, await sides.how(stretch, within))
            self._advance(stretch.up_to - stretch.after)
        return None


class _Sides:
    """What a generation's table has, and what it is due to have."""

    def __init__(
        self,
        clickhouse: ClickHouse,
        generation: Generation,
        kinds: Mapping[str, str],
        discarded: Collection[int],
    ) -> None:
        self._clickhouse = clickhouse
        self._names = list(kinds)
        # As the columns of the table, for a hash is of the type too.
        cast = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in kinds.items())
        self._due = f"SELECT {cast} FROM ({rows_sql(generation.definition, discarded)})"  # noqa: S608
        self._found = f"""
            SELECT * FROM {generation.table} FINAL
             WHERE (position > {{after:UInt64}} OR {{after:UInt64}} = 0)
               AND position <= {{up_to:UInt64}}"""  # noqa: S608 - names of ours

    async def due(self, within: Range, *, by: str) -> dict[int, Answers]:
        """What follows from the log copy, in parts."""
        return await self._parts(self._due, within, by)

    async def found(self, within: Range, *, by: str) -> dict[int, Answers]:
        """What is in the table, in parts."""
        return await self._parts(self._found, within, by)

    async def how(self, stretch: Range, within: Range) -> str:
        """What is the matter within a range, which lies in a stretch of whole steps."""
        due = await self.due(stretch, by="position")
        found = await self.found(within, by="position")
        for position in sorted(due.keys() | found.keys()):
            wanted, there = due.get(position, _NOTHING), found.get(position, _NOTHING)
            is_within = (within.after < position or not within.after) and position <= within.up_to
            if is_within and wanted != there:
                if wanted.rows == there.rows:
                    return f"the row at position {position:,} is not what follows from the log copy"
                return f"at position {position:,} it has {_rows(there)}, where {_rows(wanted)} would be right"
        return "it was not what follows from the log copy a moment ago"

    async def _parts(self, rows: str, within: Range, by: str) -> dict[int, Answers]:
        found = await self._clickhouse.rows(
            f"SELECT {by} AS part, {digest_of(self._names)} FROM ({rows}) GROUP BY part",  # noqa: S608
            within._asdict(),
        )
        return {part: Answers(count, digest) for part, count, digest in found}


def _stretches(end: int, size: int) -> Iterator[Range]:
    for after in range(0, end, size):
        yield Range(after, min(end, after + size))


def _rows(answers: Answers) -> str:
    return {0: "no row", 1: "one row"}.get(answers.rows, f"{answers.rows:,} rows")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:_WHY_LENGTH_MAX]
