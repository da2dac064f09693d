"""Asking the read side: where it stands, and its tables as one tenant sees them at one position.

    async with asyncio.timeout(30):
        answered = await read_side.ask(TRIAL_BALANCE, tenant, min_position=54, wait_s=5, as_of=today)

A question is answered at a position: of the projections that it reads the one that is least far, or the one
that an instant resolves to. Which tables answer is read from Postgres each time, so a rebuilt projection
takes over between two questions. A ClickHouse that is not the one they are in, or that has lost rows, gives
no answer at all: each statement checks that by itself.

Lagging           the read side is not there yet, or nothing answers: ask again
Unavailable       Postgres or ClickHouse cannot be reached, or ClickHouse has not got what it should have
KnownAtInFuture   of `eventstore.store`: nothing can be said about that instant yet
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from eventstore.watch import Watch
from projections import log_copy
from projections.clickhouse import UNKNOWN_TABLE, ClickHouse, ReadSideDown, StatementFailed
from projections.declaration import Definition, Projection, ProjectionQuery, table_of
from projections.filling import rows_sql

_LOOK_EVERY_S: Final = 0.01
# A SELECT over the tail costs each question what filling the table costs all of them once.
_FILLED_WITHIN_S: Final = 0.5
_TABLES_TRIED_MAX: Final = 3
_LOST: Final = "ClickHouse has not got what it should have"
_THROWN: Final = 395
# A scalar, so that it is looked at once a statement, and also where a table has no rows left to look at.
_ALL_IS_THERE: Final = f"""
    (SELECT NOT throwIf((SELECT max(position) FROM {log_copy.NAME}) < {{copied:UInt64}}
                        OR {{instances:Array(UUID)}} != arrayWithConstant(length({{instances:Array(UUID)}}),
                           (SELECT min(id) FROM erp_instance)), '{_LOST}')) AS all_is_there"""  # noqa: S608 - names of ours
# What is not in a table yet follows from the log copy; beyond so many events that takes too long.
_TAIL_EVENTS_MAX: Final = 20_000
_SERVING: Final = f"""
    SELECT g.projection, g.generation, g.instance, g.position,
           CASE WHEN g.blocked_by IS NULL AND c.instance = g.instance AND g.definition ->> 'step' = '1'
                 AND c.position BETWEEN g.position AND g.position + {_TAIL_EVENTS_MAX}
                THEN c.position ELSE g.position END,
           g.definition
      FROM erp.projections p
      JOIN erp.projection_generations g ON g.projection = p.projection AND g.generation = p.serving
     CROSS JOIN erp.log_copy c"""  # noqa: S608 - a number of ours
_LAGS: Final = "SELECT what, position, is_serving, blocked_by, lag_events, lag_seconds FROM erp.lags()"
_DISCARDED: Final = "SELECT position FROM erp.tenant_discards(%s, %s, %s)"


_OF_TENANT: Final = "tenant = {tenant:UUID} AND all_is_there"


class Lagging(Exception):
    """The read side is not where it is wanted. `position`: where it is, None while nothing answers."""

    def __init__(self, position: int | None) -> None:
        super().__init__()
        self.position = position


class Store(Protocol):
    """What is needed of the event store, as the application sees it."""

    async def rows(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        """The rows of a short query."""

    async def position_at(self, known_at: datetime) -> int:
        """The last position recorded at or before `known_at`."""


class Table(NamedTuple):
    """The table that answers for a projection."""

    projection: str
    generation: int
    instance: UUID
    """The ClickHouse that it is in."""
    position: int
    """It has everything up to here."""
    reach: int
    """Up to here the log copy has what it has not got yet."""
    definition: Definition

    @property
    def name(self) -> str:
        """Its name in ClickHouse."""
        return table_of(self.projection, self.generation)

    @property
    def step(self) -> int:
        """It goes by whole multiples of so many positions."""
        return self.definition.step


Columns = Callable[[Table], Awaitable[str]]
"""The names of a table's columns, as a list in SQL."""


class Standing(NamedTuple):
    """What a question is answered from: the tables of its projections, at a position."""

    position: int
    tables: Mapping[str, Table]

    def closed(self, table: Table) -> int:
        """How much of the table counts: whole steps, and nothing beyond the position."""
        position = min(self.position, table.position)
        return position - position % table.step

    def has_tail(self, table: Table) -> bool:
        """Whether the log copy has to add what the table has not got."""
        return table.step == 1 and self.position > table.position


class View:
    """The tables of one tenant as they stood at one position.

    SQL names projections as if they were tables; of each it sees the tenant's rows up to the position, each
    once. This is the one place where the tenant is filtered.
    """

    def __init__(self, clickhouse: ClickHouse, columns: Columns, tenant: UUID, standing: Standing) -> None:
        self._clickhouse = clickhouse
        self._columns = columns
        self._standing = standing
        self.tenant = tenant
        self.position = standing.position

    def closed(self, projection: Projection) -> int:
        """Of a projection that goes by whole buckets of positions: the last position of the last bucket that
        it has, at or before the view's position; 0 when there is none.
        """
        return self._standing.closed(self._standing.tables[projection.name])

    async def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """What the SQL gives, by names of columns. Parameters are bound by the server: `{as_of:Date32}`.

        Raises:
            ReadSideDown: ClickHouse cannot be reached, or has lost what it should have.
            StatementFailed: the SQL is wrong.
        """
        named = [each for name, each in self._standing.tables.items() if re.search(rf"\b{name}\b", sql)]
        bound: dict[str, Any] = {
            "tenant": str(self.tenant),
            "instances": [str(each.instance) for each in named],
            "copied": max((max(each.position, min(each.reach, self.position)) for each in named), default=0),
        }
        views = [f"{each.projection} AS ({await self._visible(each)})" for each in named]
        try:
            return await self._clickhouse.records(
                _with([_ALL_IS_THERE, *views], sql), {**parameters, **bound}
            )
        except StatementFailed as error:
            if error.code == _THROWN and _LOST in str(error):
                raise ReadSideDown(_LOST) from error
            raise

    async def _visible(self, table: Table) -> str:
        """What is seen of it: the tenant's rows up to where it counts, each once, if all is there."""
        end = self._standing.closed(table)
        kept = f"FROM {table.name} FINAL WHERE {_OF_TENANT} AND position <= {end}"
        if not self._standing.has_tail(table):
            return f"SELECT * {kept}"
        columns = await self._columns(table)
        tail = rows_sql(table.definition, after=str(end), up_to=str(self.position), where=_OF_TENANT)
        return f"SELECT {columns} {kept} UNION ALL SELECT {columns} FROM ({tail}) WHERE {_OF_TENANT}"  # noqa: S608


class Answered(NamedTuple):
    """An answer, the position that it stands at, and the positions of the tenant's events that were taken out
    of what it was made of.
    """

    answer: Any
    position: int
    discarded: Sequence[int]


class Lag(NamedTuple):
    """How far a projection is, or the log copy (`log`), and by how much that is behind the store's log.

    Attributes:
        events: how many it lacks that are due: whole steps of them, where it goes by steps.
        seconds: since the first of these was recorded.
    """

    projection: str
    position: int
    is_serving: bool
    blocked_by: int | None
    events: int
    seconds: float


class ReadSide:
    """Where questions to projections are asked; shared by all requests of a process."""

    def __init__(self, clickhouse: ClickHouse, store: Store) -> None:
        self._clickhouse = clickhouse
        self._store = store
        self._columns: dict[tuple[UUID, str], str] = {}
        self._watch: Watch[Mapping[str, Table]] = Watch(self._serving, every_s=_LOOK_EVERY_S)

    async def ask(
        self,
        query: ProjectionQuery,
        tenant: UUID,
        *,
        min_position: int = 0,
        known_at: datetime | None = None,
        wait_s: float = 0,
        **parameters: Any,
    ) -> Answered:
        """The answer for the tenant, from what stands at `min_position` at least, or exactly at `known_at`.

        Raises:
            Lagging: that is not so within `wait_s` seconds.
            KnownAtInFuture: that instant has not come.
            Unavailable: what it is read from cannot be reached, or has lost rows.
        """
        with_tail = True
        for spare in reversed(range(_TABLES_TRIED_MAX)):
            standing = await self.standing(
                query.reads, min_position=min_position, known_at=known_at, wait_s=wait_s, with_tail=with_tail
            )
            view = View(self._clickhouse, self._columns_of, tenant, standing)
            try:
                answer = await query.ask(view, **parameters)
            except StatementFailed as error:
                if error.code != UNKNOWN_TABLE and not any(map(standing.has_tail, standing.tables.values())):
                    raise
                # It may be an event that cannot be read, before which the projection is about to stand.
                with_tail = error.code == UNKNOWN_TABLE
                # A rebuilt table has taken its place meanwhile, or ClickHouse was wiped.
                if spare == 0:
                    raise ReadSideDown(str(error)) from error
                continue
            discarded = await self._discarded(tenant, query, standing)
            return Answered(answer, standing.position, discarded)
        raise AssertionError

    async def standing(
        self,
        reads: Sequence[Projection],
        *,
        min_position: int = 0,
        known_at: datetime | None = None,
        wait_s: float = 0,
        with_tail: bool = True,
    ) -> Standing:
        """Where a question that reads these projections stands.

        A table that is not filled within a moment holds nothing up (unless not `with_tail`): its SELECT gives
        what the log copy has, for the question. Nor does one that goes by whole steps: the rest is read from
        another.

        Raises:
            Lagging, KnownAtInFuture, Unavailable: as of `ask`.
        """
        exactly = None if known_at is None else await self._store.position_at(known_at)
        wanted = max(min_position, exactly or 0)
        names = [each.name for each in reads]
        tables, tail = await self._reached(names, wanted, wait_s, with_tail=with_tail)
        position = _least(tables, names, with_tail=tail) if exactly is None else exactly
        assert position is not None, "it was reached"
        return Standing(position, {name: tables[name] for name in names})

    async def _reached(
        self, names: Sequence[str], wanted: int, wait_s: float, *, with_tail: bool
    ) -> tuple[Mapping[str, Table], bool]:
        """The tables once they are there, or, when they are not filled within a moment, once the log copy is;
        and whether that was needed.

        Raises:
            Lagging: neither is there in time.
        """
        tables = await self._serving()
        moment_s = min(wait_s, _FILLED_WITHIN_S) if with_tail else wait_s
        for tail, patience_s in ((False, moment_s), (True, wait_s - moment_s))[: 1 + with_tail]:

            def is_there(tables: Mapping[str, Table], *, tail: bool = tail) -> bool:
                position = _least(tables, names, with_tail=tail)
                return position is not None and position >= wanted

            if not is_there(tables) and patience_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience_s):
                        await self._watch.until(is_there)
                tables = await self._serving()
            if is_there(tables):
                return tables, tail
        raise Lagging(_least(tables, names, with_tail=True))

    async def lags(self) -> list[Lag]:
        """How far each projection is, and the log copy.

        Raises:
            Unavailable: Postgres cannot be reached.
        """
        return [Lag(*row) for row in await self._store.rows(_LAGS, [])]

    async def _serving(self) -> Mapping[str, Table]:
        rows = await self._store.rows(_SERVING, [])
        return {row[0]: Table(*row)._replace(definition=Definition.from_json(row[5])) for row in rows}

    async def _columns_of(self, table: Table) -> str:
        known = self._columns.get((table.instance, table.name))
        if known is None:
            rows = await self._clickhouse.rows(f"DESCRIBE TABLE {table.name}")
            known = self._columns[table.instance, table.name] = ", ".join(str(row[0]) for row in rows)
        return known

    async def _discarded(self, tenant: UUID, query: ProjectionQuery, standing: Standing) -> list[int]:
        names = [each.name for each in query.reads]
        rows = await self._store.rows(_DISCARDED, [tenant, names, standing.position])
        return [position for (position,) in rows]


def _least(tables: Mapping[str, Table], names: Sequence[str], *, with_tail: bool) -> int | None:
    """How far all of them are; None while one of them does not answer."""
    if any(name not in tables for name in names):
        return None
    read = [tables[name] for name in names]
    by_positions = [each.reach if with_tail else each.position for each in read if each.step == 1]
    return min(by_positions or [each.position for each in read])


def _with(views: Sequence[str], sql: str) -> str:
    """The SQL with these in front of its own common table expressions."""
    own = re.match(r"\s*WITH\b", sql, re.IGNORECASE)
    joined = ",\n".join(views)
    return f"WITH {joined}, {sql[own.end() :]}" if own else f"WITH {joined} {sql}"
