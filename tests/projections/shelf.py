"""Tables of some projections in a real ClickHouse: events are put into the log copy by hand, ranges projected
at will.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import clickhouse_connect
import orjson
from hypothesis import strategies as st

from projections import log_copy
from projections.clickhouse import ClickHouse, StatementFailed
from projections.declaration import Projection, table_of
from projections.filling import rows_sql
from projections.reading import Proof, Standing, Table, View


class Missing(Enum):
    """A field that is not there; its name is part of tests' names."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return self.value


MISSING: Any = Missing.MISSING


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
    recorded_at: str = "2026-07-01 12:00:00.000000"
    stream_type: str = ""

    def as_json(self) -> bytes:
        """A row of the log copy."""
        data = self.data if isinstance(self.data, str) else orjson.dumps(self.data).decode()
        return orjson.dumps({**vars(self), "data": data})


@dataclass
class Shelf:
    """Log copy and tables, empty at first."""

    clickhouse: ClickHouse
    projections: Sequence[Projection]
    instance: UUID | None = None
    done: dict[str, int] = field(default_factory=dict)
    """How far each projection is."""

    async def clear(self) -> None:
        """Empty tables, made where they are missing."""
        if self.instance is None:
            self.instance = (await log_copy.prepare(self.clickhouse)).instance
            for each in self.projections:
                await self.clickhouse.command(each.create_table(_table(each)))
        self.done = {}
        for name in (log_copy.NAME, *map(_table, self.projections)):
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
            for each in self.projections
        }
        now = asyncio.get_running_loop().time()
        proof = Proof(self.instance, 0, now, now)
        return View(self.clickhouse, tenant, Standing(position, tables), proof)


def _table(projection: Projection) -> str:
    return table_of(projection.name, 1)


@contextmanager
def shelf_with(server_url: str, runner: asyncio.Runner, projections: Sequence[Projection]) -> Iterator[Shelf]:
    """A shelf in a database of its own, with nothing in it at first."""
    name = f"shelf_{uuid4().hex}"
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    with clickhouse_connect.get_client(dsn=server_url) as admin:
        admin.command(f"CREATE DATABASE {name}")
        clickhouse = ClickHouse(lambda: url)
        yield Shelf(clickhouse, projections)
        runner.run(clickhouse.__aexit__())
        admin.command(f"DROP DATABASE {name} SYNC")


@st.composite
def splits(draw: st.DrawFn, end: int, step: int = 1) -> list[tuple[int, int]]:
    """Ranges that cover everything up to a whole step, in order but for some that are repeated."""
    last = end // step
    marks = sorted({0, last, *draw(st.lists(st.integers(0, last), max_size=2))})
    ranges = [(low * step, high * step) for low, high in pairwise(marks)]
    if ranges:
        ranges += draw(st.lists(st.sampled_from(ranges), max_size=1))
    return ranges


def without_missing(data: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that are `MISSING`."""
    return {name: value for name, value in data.items() if value is not MISSING}
