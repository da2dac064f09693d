"""The tables of finance in a real ClickHouse: events are put into the log copy by hand, ranges projected at
will.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from projections import log_copy
from projections.clickhouse import ClickHouse, StatementFailed
from projections.declaration import Projection, table_of
from projections.filling import rows_sql
from projections.finance.tables import FINANCE_PROJECTIONS
from projections.reading import Proof, Standing, Table, View


@dataclass(frozen=True)
class Happened:
    """An event as the log copy has it, as far as projections look at it."""

    position: int
    tenant: UUID
    stream_id: UUID
    version: int
    type: str
    data: dict[str, Any] | str
    """A text is taken as it is."""
    series: str = ""
    number: int = 0
    schema_version: int = 1

    def as_json(self) -> bytes:
        """A row of the log copy."""
        data = self.data if isinstance(self.data, str) else orjson.dumps(self.data).decode()
        return orjson.dumps({**vars(self), "data": data})


@dataclass
class Shelf:
    """Log copy and tables, empty at first."""

    clickhouse: ClickHouse
    instance: UUID | None = None
    done: dict[str, int] = field(default_factory=dict)
    """How far each projection is."""

    async def clear(self) -> None:
        """Empty tables, made where they are missing."""
        if self.instance is None:
            self.instance = (await log_copy.prepare(self.clickhouse)).instance
            for each in FINANCE_PROJECTIONS:
                await self.clickhouse.command(each.create_table(_table(each)))
        self.done = {}
        for name in (log_copy.NAME, *map(_table, FINANCE_PROJECTIONS)):
            await self.clickhouse.command(f"TRUNCATE TABLE {name}")

    async def record(self, events: Iterable[Happened]) -> None:
        """Put events into the log copy."""
        rows = b"\n".join(each.as_json() for each in events)
        await self.clickhouse.insert_raw(f"INSERT INTO {log_copy.NAME} FORMAT JSONEachRow", rows)

    async def can_read(self, projection: Projection, position: int) -> bool:
        """Whether the projection can read the event at a position."""
        sql = rows_sql(projection.definition)
        try:
            await self.clickhouse.command(f"{sql} FORMAT Null", {"after": position - 1, "up_to": position})
        except StatementFailed:
            return False
        return True

    async def project(
        self, projection: Projection, after: int, up_to: int, discarded: Collection[int] = ()
    ) -> None:
        """What the runner does with a range."""
        sql = rows_sql(projection.definition, discarded)
        bound = {"after": after, "up_to": up_to}
        described = await self.clickhouse.rows(f"DESCRIBE TABLE ({sql})", bound)
        columns = ", ".join(str(row[0]) for row in described)
        await self.clickhouse.command(
            f"INSERT INTO {_table(projection)} ({columns}) {sql}", bound, {"optimize_on_insert": 0}
        )
        self.done[projection.name] = max(up_to, self.done.get(projection.name, 0))

    async def table(self, projection: Projection) -> list[dict[str, Any]]:
        """All its rows, each once."""
        return await self.clickhouse.records(f"SELECT * FROM {_table(projection)} FINAL ORDER BY ALL")

    def view(self, tenant: UUID, position: int) -> View:
        """What a tenant sees at a position."""
        assert self.instance is not None
        tables = {
            each.name: Table(each.name, 1, self.instance, self.done.get(each.name, 0), each.definition.step)
            for each in FINANCE_PROJECTIONS
        }
        return View(self.clickhouse, tenant, Standing(position, tables), Proof(self.instance, 0, 0.0))


def _table(projection: Projection) -> str:
    return table_of(projection.name, 1)
