"""The tables of finance in a real ClickHouse: events are put into the log copy by hand, ranges projected at
will.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from projections import log_copy
from projections.clickhouse import ClickHouse
from projections.declaration import Projection
from projections.filling import rows_sql
from projections.finance.tables import FINANCE_PROJECTIONS


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
    done: dict[str, int] = field(default_factory=dict)
    """How far each projection is."""

    async def clear(self) -> None:
        """Empty tables, made where they are missing."""
        await log_copy.prepare(self.clickhouse)
        self.done = {}
        await self.clickhouse.command(f"TRUNCATE TABLE {log_copy.NAME}")
        for each in FINANCE_PROJECTIONS:
            await self.clickhouse.command(each.create_table(_table(each)))
            await self.clickhouse.command(f"TRUNCATE TABLE {_table(each)}")

    async def record(self, events: Iterable[Happened]) -> None:
        """Put events into the log copy."""
        rows = b"\n".join(each.as_json() for each in events)
        await self.clickhouse.insert_raw(f"INSERT INTO {log_copy.NAME} FORMAT JSONEachRow", rows)

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

    def view(self, tenant: UUID, position: int) -> "ShelfView":
        """What a tenant sees at a position."""
        return ShelfView(self, tenant, position)


@dataclass(frozen=True)
class ShelfView:
    """The tables of one tenant, as they stood at one position."""

    shelf: Shelf
    tenant: UUID
    position: int

    def closed(self, projection: Projection) -> int:
        known = min(self.position, self.shelf.done.get(projection.name, 0))
        return known - known % projection.definition.step

    async def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        visible = ", ".join(
            f"{each.name} AS (SELECT * FROM {_table(each)} FINAL"
            " WHERE tenant = {tenant:UUID} AND position <= {position:UInt64})"
            for each in FINANCE_PROJECTIONS
            if each.name in sql
        )
        bound = {**parameters, "tenant": str(self.tenant), "position": self.position}
        return await self.shelf.clickhouse.records(f"WITH {visible} {sql}", bound)


def _table(projection: Projection) -> str:
    return f"{projection.name}_g1"
