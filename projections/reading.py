"""Asking the read side: where it stands, and its tables as one tenant sees them at one position.

    async with asyncio.timeout(30):
        answered = await read_side.ask(TRIAL_BALANCE, tenant, min_position=54, wait_s=5, as_of=today)

A question is answered at a position: of the projections that it reads the one that is least far, or the one
that an instant resolves to. Which tables answer is read from Postgres each time, so a rebuilt projection
takes over between two questions. A ClickHouse that is not the one they are in, or that has lost rows, gives
no answer: what it has is looked at now and then, and anew once it was started again. Each statement checks
that by itself: the server's uptime has gone on since it was looked at. After each start of it the projector
looks first: only it can tell what a table lacks, and puts that in again.

Lagging           the read side is not there yet, or nothing answers: ask again
Unavailable       Postgres or ClickHouse cannot be reached, or ClickHouse has not got what it should have
KnownAtInFuture   of `eventstore.store`: nothing can be said about that instant yet
"""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from eventstore.watch import Watch
from projections import demand, log_copy
from projections.clickhouse import UNKNOWN_TABLE, ClickHouse, ReadSideDown, StatementFailed
from projections.declaration import Projection, ProjectionQuery, table_of

_LOOK_EVERY_S: Final = 0.01
_SETTLED_EVERY_S: Final = 0.1
_TABLES_TRIED_MAX: Final = 3
# To look costs a fifth of a trial balance, and rows are lost with a restart if ever.
_PROVEN_FOR_S: Final = 10.0
# Of a server that had hardly been up, nobody could tell that it was started again since.
_UP_FOR_S: Final = 3
# Else whoever asks of a ClickHouse that stands still would take the place of all others.
_ANSWER_S: Final = 30.0
_SILENT: Final = "ClickHouse does not answer"
_LOST: Final = "ClickHouse has not got what it should have"
_RESTARTED: Final = "ClickHouse was started again"
_NOT_SETTLED: Final = "ClickHouse was started again, and no worker has looked yet whether it has all it had"
_CANNOT_PARSE: Final = 6
# A constant, which is worked out while the statement is analysed: also where a table has no rows left to look
# at, and at no cost. (throwIf is left to the rows; in a scalar subquery it took a fifth of a small question.)
_SAME_SERVER: Final = f"toUInt8(if(uptime() >= {{uptime:UInt32}}, '1', '{_RESTARTED}')) AS is_same_server"
_OF_TENANT: Final = "tenant = {tenant:UUID} AND is_same_server"
# By ORDER BY it reads the end of the log copy, where max() would read all of its positions.
_LAST: Final = f"SELECT position FROM {log_copy.NAME} ORDER BY position DESC LIMIT 1"  # noqa: S608
_HAS: Final = f"""
    SELECT min(id), uptime(), ifNull(({_LAST}), 0), (SELECT count() FROM erp_settled) > 0
      FROM erp_instance"""  # noqa: S608
_SERVING: Final = """
    SELECT g.projection, g.generation, g.instance, g.position, (g.definition ->> 'step')::bigint
      FROM erp.projections p
      JOIN erp.projection_generations g ON g.projection = p.projection AND g.generation = p.serving"""
_LAGS: Final = "SELECT what, position, is_serving, blocked_by, lag_events, lag_seconds FROM erp.lags()"
_DISCARDED: Final = "SELECT position FROM erp.tenant_discards(%s, %s, %s)"


class Lagging(Exception):
    """The read side is not where it is wanted. `position`: where it is, None while nothing answers."""

    def __init__(self, position: int | None) -> None:
        super().__init__()
        self.position = position


class ServerRestarted(ReadSideDown):
    """Nobody knows whether ClickHouse still has what it had."""


class NotSettled(ReadSideDown):
    """Nobody knows yet whether ClickHouse has what it had before it was started."""


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
    step: int
    """It goes by whole multiples of so many positions."""

    @property
    def name(self) -> str:
        """Its name in ClickHouse."""
        return table_of(self.projection, self.generation)


class Standing(NamedTuple):
    """What a question is answered from: the tables of its projections, at a position."""

    position: int
    tables: Mapping[str, Table]

    def closed(self, table: Table) -> int:
        """How much of the table counts: whole steps, and nothing beyond the position."""
        position = min(self.position, table.position)
        return position - position % table.step


class Proof(NamedTuple):
    """That ClickHouse had what it should have.

    Attributes:
        uptime_s: for so long it had run by then.
        looked_at_s: when it was looked at (monotonic).
        good_until_s: so long it counts, if the server is not started again.
    """

    instance: UUID
    uptime_s: int
    looked_at_s: float
    good_until_s: float

    def is_of(self, tables: Collection[Table]) -> bool:
        """Whether they are in the ClickHouse that was looked at."""
        return all(table.instance == self.instance for table in tables)

    def uptime_by(self, now_s: float) -> int:
        """For how long it has run by now at least, unless it was started again since; in seconds."""
        # Less a second, for the clocks are of two machines.
        return max(0, self.uptime_s + int(now_s - self.looked_at_s) - 1)


class View:
    """The tables of one tenant as they stood at one position.

    SQL names projections as if they were tables; of each it sees the tenant's rows up to the position, each
    once. This is the one place where the tenant is filtered.
    """

    def __init__(self, clickhouse: ClickHouse, tenant: UUID, standing: Standing, proof: Proof) -> None:
        self._clickhouse = clickhouse
        self._standing = standing
        self._proof = proof
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
            ReadSideDown: ClickHouse cannot be reached.
            ServerRestarted: it has to be looked at again what it has.
            StatementFailed: the SQL is wrong.
        """
        named = [each for name, each in self._standing.tables.items() if re.search(rf"\b{name}\b", sql)]
        views = [f"{each.projection} AS ({self._visible(each)})" for each in named]
        uptime_s = self._proof.uptime_by(asyncio.get_running_loop().time())
        bound = {"tenant": str(self.tenant), "uptime": uptime_s}
        try:
            return await self._clickhouse.records(_with([_SAME_SERVER, *views], sql), {**parameters, **bound})
        except StatementFailed as error:
            if error.code == _CANNOT_PARSE and _RESTARTED in str(error):
                raise ServerRestarted(_RESTARTED) from error
            raise

    def _visible(self, table: Table) -> str:
        """What is seen of it: the tenant's rows up to where it counts, each once."""
        end = self._standing.closed(table)
        return f"SELECT * FROM {table.name} FINAL WHERE {_OF_TENANT} AND position <= {end}"  # noqa: S608 - names of ours


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
    """Where questions to projections are asked; shared by all requests of a process.

    Args:
        proven_for_s: for so long nobody looks again whether ClickHouse has what it should have.
        answer_s: so long an answer may take, besides what the question is ready to wait.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        store: Store,
        *,
        proven_for_s: float = _PROVEN_FOR_S,
        answer_s: float = _ANSWER_S,
    ) -> None:
        self._clickhouse = clickhouse
        self._store = store
        self._proven_for_s = proven_for_s
        self._answer_s = answer_s
        self._proof: Proof | None = None
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
            Unavailable: what it is read from cannot be reached, does not answer, or has lost rows.
        """
        try:
            async with asyncio.timeout(wait_s + self._answer_s):
                return await self._ask(
                    query, tenant, min_position=min_position, known_at=known_at, wait_s=wait_s, **parameters
                )
        except TimeoutError:
            raise ReadSideDown(_SILENT) from None

    async def _ask(
        self,
        query: ProjectionQuery,
        tenant: UUID,
        *,
        min_position: int,
        known_at: datetime | None,
        wait_s: float,
        **parameters: Any,
    ) -> Answered:
        give_up_at = asyncio.get_running_loop().time() + wait_s
        for spare in reversed(range(_TABLES_TRIED_MAX)):
            standing = await self.standing(
                query.reads, min_position=min_position, known_at=known_at, wait_s=wait_s
            )
            proof = await self._proven(standing.tables.values(), give_up_at)
            view = View(self._clickhouse, tenant, standing, proof)
            try:
                answer, discarded = await asyncio.gather(
                    query.ask(view, **parameters), self._discarded(tenant, query, standing)
                )
            except ServerRestarted:
                self._proof = None
                if spare == 0:
                    raise
                continue
            except StatementFailed as error:
                if error.code != UNKNOWN_TABLE:
                    raise
                # A rebuilt table has taken its place meanwhile, or ClickHouse was wiped.
                if spare == 0:
                    raise ReadSideDown(str(error)) from error
                continue
            return Answered(answer, standing.position, discarded)
        raise AssertionError

    async def standing(
        self,
        reads: Sequence[Projection],
        *,
        min_position: int = 0,
        known_at: datetime | None = None,
        wait_s: float = 0,
    ) -> Standing:
        """Where a question that reads these projections stands.

        One that goes by whole steps holds nothing up: the rest is read from another.

        Raises:
            Lagging, KnownAtInFuture, Unavailable: as of `ask`.
        """
        exactly = None if known_at is None else await self._store.position_at(known_at)
        names = [each.name for each in reads]
        tables = await self._reached(names, max(min_position, exactly or 0), wait_s)
        position = _least(tables, names) if exactly is None else exactly
        assert position is not None, "it was reached"
        return Standing(position, {name: tables[name] for name in names})

    async def _reached(self, names: Sequence[str], wanted: int, wait_s: float) -> Mapping[str, Table]:
        """The tables, once they are there.

        Raises:
            Lagging: they are not in time.
        """

        def are_there(tables: Mapping[str, Table]) -> bool:
            position = _least(tables, names)
            return position is not None and position >= wanted

        tables = await self._serving()
        if are_there(tables):
            return tables
        await self._store.rows(demand.SAY, [demand.said(names, wanted)])
        try:
            async with asyncio.timeout(wait_s):
                if wait_s:  # there is time for it now, and none later
                    with suppress(ReadSideDown):
                        await self._proven([tables[name] for name in names if name in tables])
                return await self._watch.until(are_there)
        except TimeoutError:
            raise Lagging(_least(await self._serving(), names)) from None

    async def _proven(self, tables: Collection[Table], give_up_at: float = 0) -> Proof:
        """That ClickHouse has what it should have, and that these tables are in it; looked at now and then.
        Until `give_up_at` it is waited for that the projector has looked first.

        Raises:
            ReadSideDown: it has not, or is not the one that they are in, or cannot be reached.
        """
        proof, now = self._proof, asyncio.get_running_loop().time()
        if proof is None or now >= proof.good_until_s or not proof.is_of(tables):
            proof = self._proof = await self._settled(give_up_at)
        if not proof.is_of(tables):
            raise ReadSideDown(_LOST)
        return proof

    async def _settled(self, give_up_at: float) -> Proof:
        while True:
            try:
                return await self._look()
            except NotSettled:
                if asyncio.get_running_loop().time() >= give_up_at:
                    raise
                await asyncio.sleep(_SETTLED_EVERY_S)

    async def _look(self) -> Proof:
        before, self._proof = self._proof, None
        clock = asyncio.get_running_loop().time
        farthest = max((table.position for table in (await self._serving()).values()), default=0)
        asked_at = clock()
        try:
            ((instance, uptime_s, last, is_settled),) = await self._clickhouse.rows(_HAS)
        except StatementFailed as error:
            raise ReadSideDown(_LOST) from error
        if last < farthest:
            raise ReadSideDown(_LOST)
        if not is_settled:
            raise NotSettled(_NOT_SETTLED)
        is_same_run = (
            before is not None and before.instance == instance and uptime_s >= before.uptime_by(asked_at)
        )
        # Rows are lost with a restart if ever: then each of them is looked for, and not the last one only.
        if not is_same_run and await log_copy.count(self._clickhouse, farthest) < farthest:
            raise ReadSideDown(_LOST)
        now = clock()
        could_restart_unnoticed = uptime_s < _UP_FOR_S + (now - asked_at)
        return Proof(instance, uptime_s, now, now if could_restart_unnoticed else now + self._proven_for_s)

    def drain(self) -> None:
        """Answer without waiting from now on, and end the waits that go on: the process is to end."""
        self._watch.give_up()

    async def lags(self) -> list[Lag]:
        """How far each projection is, and the log copy.

        Raises:
            Unavailable: Postgres cannot be reached.
        """
        return [Lag(*row) for row in await self._store.rows(_LAGS, [])]

    async def _serving(self) -> Mapping[str, Table]:
        return {row[0]: Table(*row) for row in await self._store.rows(_SERVING, [])}

    async def _discarded(self, tenant: UUID, query: ProjectionQuery, standing: Standing) -> list[int]:
        names = [each.name for each in query.reads]
        rows = await self._store.rows(_DISCARDED, [tenant, names, standing.position])
        return [position for (position,) in rows]


def _least(tables: Mapping[str, Table], names: Sequence[str]) -> int | None:
    """How far all of them are; None while one of them does not answer."""
    if any(name not in tables for name in names):
        return None
    read = [tables[name] for name in names]
    by_positions = [each.position for each in read if each.step == 1]
    return min(by_positions or [each.position for each in read])


def _with(views: Sequence[str], sql: str) -> str:
    """The SQL with these in front of its own common table expressions."""
    own = re.match(r"\s*WITH\b", sql, re.IGNORECASE)
    joined = ",\n".join(views)
    return f"WITH {joined}, {sql[own.end() :]}" if own else f"WITH {joined} {sql}"
