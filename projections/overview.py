"""How the read side stands: what `erp projections list` tells."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from projections import checkpoints, log_copy
from projections.checkpoints import Connection, Generation, LogCopy, Standing
from projections.clickhouse import UNKNOWN_TABLE, ClickHouse, ReadSideDown, StatementFailed
from projections.declaration import Projection

# Of the event whose coming made it possible to go on: one more, or the last of a whole step. A clock that was
# set back makes nothing negative.
_WAITING_S: Final = """
    SELECT greatest(0, extract(epoch FROM clock_timestamp() - recorded_at))::float8
      FROM erp.events WHERE position = %s"""
_SIZES: Final = """
    SELECT table AS name, sum(rows), sum(bytes_on_disk) FROM system.parts
     WHERE active AND database = currentDatabase() GROUP BY name"""


class Line(NamedTuple):
    """A generation of a projection, or the log copy.

    Attributes:
        status: serving; building; blocked: it stands before an event that it cannot read (and answers for
            what came before, if `serves`); outdated: the code has another version than the one that answers;
            kept: to go back to; waiting: not begun; lost: in a ClickHouse that is not there any more;
            unknown: the code has no such projection.
        lag_events: how many it lacks that it could have: whole steps of them, where it goes by steps.
        lag_s: since the first of these was recorded.
        rows: as stored; duplicates that are not merged yet among them. None: ClickHouse does not say.
    """

    name: str
    status: str
    serves: bool
    generation: int | None
    version: int | None
    position: int
    lag_events: int
    lag_s: float
    rows: int | None
    bytes: int | None
    blocked_by: int | None = None
    blocked_why: str | None = None
    discarded: Sequence[int] = ()


class Overview:
    """Looks at everything once."""

    def __init__(
        self, connection: Connection, clickhouse: ClickHouse, projections: Sequence[Projection]
    ) -> None:
        self._connection = connection
        self._clickhouse = clickhouse
        self._projections = {each.name: each for each in projections}
        self._instance: Any = None
        self._sizes: dict[str, tuple[int, int]] | None = None
        self._head = 0

    async def lines(self) -> list[Line]:
        """The log copy, then each projection, what answers first."""
        await self._ask_clickhouse()
        copied = await checkpoints.log_copy(self._connection)
        self._head = await checkpoints.head(self._connection)
        standings = await checkpoints.standings(self._connection)
        lines = [await self._log_copy(copied)]
        for name in [*self._projections, *sorted(standings.keys() - self._projections.keys())]:
            standing = standings.get(name, Standing(name, None, None))
            lines += await self._projection(name, standing)
        return lines

    async def _ask_clickhouse(self) -> None:
        """What it has; it may be away or empty, of which the lines then tell."""
        try:
            self._sizes = {table: (rows, size) for table, rows, size in await self._clickhouse.rows(_SIZES)}
            self._instance = (await log_copy.whereabouts(self._clickhouse)).instance
        except ReadSideDown:
            self._sizes = None
        except StatementFailed as error:
            if error.code != UNKNOWN_TABLE:
                raise

    async def _log_copy(self, copied: LogCopy) -> Line:
        is_lost = self._sizes is not None and copied.instance not in {None, self._instance}
        status = "lost" if is_lost else "waiting" if copied.instance is None else "serving"
        return await self._line(
            log_copy.NAME, status, log_copy.NAME, copied.position, serves=status == "serving"
        )

    async def _projection(self, name: str, standing: Standing) -> list[Line]:
        discarded = await checkpoints.discards(self._connection, name)
        generations = await checkpoints.generations(self._connection, name)
        if not generations:
            step = self._projections[name].definition.step if self._is_known(name) else 1
            waiting = await self._line(name, "waiting", "", 0, step=step)
            return [waiting._replace(discarded=discarded)]
        # What answers, then what is being made, then what is kept.
        generations.sort(key=lambda each: (each.generation != standing.serving, -each.generation))
        return [await self._generation(each, standing, discarded) for each in generations]

    async def _generation(self, each: Generation, standing: Standing, discarded: Sequence[int]) -> Line:
        line = await self._line(
            each.projection,
            self._status(each, standing),
            each.table,
            each.position,
            step=each.definition.step,
            serves=each.generation == standing.serving,
        )
        return line._replace(
            generation=each.generation,
            version=each.version,
            blocked_by=each.blocked_by,
            blocked_why=each.blocked_why,
            discarded=discarded,
        )

    async def _line(
        self, name: str, status: str, table: str, position: int, *, step: int = 1, serves: bool = False
    ) -> Line:
        lag_events, lag_s = await self._lag(position, step)
        rows, size = (None, None) if self._sizes is None else self._sizes.get(table, (0, 0))
        return Line(name, status, serves, None, None, position, lag_events, lag_s, rows, size)

    def _status(self, each: Generation, standing: Standing) -> str:
        serves = each.generation == standing.serving
        statuses = {
            "unknown": not self._is_known(each.projection),
            "lost": self._sizes is not None and each.instance != self._instance,
            "blocked": each.blocked_by is not None,
            "kept": each.generation == standing.previous,
            "building": not serves,
            "outdated": self._is_known(each.projection)
            and not each.is_by(self._projections[each.projection]),
        }
        return next((status for status, holds in statuses.items() if holds), "serving")

    def _is_known(self, name: str) -> bool:
        return name in self._projections

    async def _lag(self, position: int, step: int) -> tuple[int, float]:
        due = self._head - self._head % step
        if due <= position:
            return 0, 0.0
        cursor = await self._connection.execute(_WAITING_S, [position + step], prepare=True)
        row = await cursor.fetchone()
        return due - position, 0.0 if row is None else float(row[0])
