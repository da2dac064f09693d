"""A read side of a test's own: a log, a ClickHouse database, and the projector between them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg

from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from projections import checkpoints
from projections.checkpoints import Connection, Generation
from projections.clickhouse import ClickHouse
from projections.declaration import Definition, Projection
from projections.projector import Projector
from tests.eventstore.conftest import new_tenant
from tests.eventstore.tally import Tally, append, blank
from tests.waiting import eventually

TALLIES = Projection.of(
    "tallies", Path(__file__).with_name("tallies.sql"), version=1, reads={"test.tally.added": 1}
)
CODEC = Codec([Tally])

# In one question: between two a rebuild may let another one answer.
_SERVING: Final = """
    SELECT g.projection, g.generation, g.version, g.definition, g.instance, g.position, g.blocked_by,
           g.blocked_why
      FROM erp.projections p
      JOIN erp.projection_generations g ON g.projection = p.projection AND g.generation = p.serving
     WHERE p.projection = %s"""


@dataclass
class World:
    """What a test acts on."""

    owner_url: str
    clickhouse: ClickHouse
    store: EventStore
    tenant: UUID
    connection: Connection
    """As erp_worker."""

    async def add(self, *amounts: Decimal | int) -> None:
        """Append an event for each amount, each in a stream of its own."""
        for amount in amounts:
            await append(self.store, self.tenant, blank().add(Decimal(amount)))

    async def head(self) -> int:
        """The last position of the log."""
        return await checkpoints.head(self.connection)

    async def generation(self, projection: str = TALLIES.name) -> Generation | None:
        """The one that answers."""
        cursor = await self.connection.execute(_SERVING, [projection])
        row = await cursor.fetchone()
        if row is None:
            return None
        name, number, version, definition, *rest = row
        return Generation(name, number, version, Definition.from_json(definition), *rest)

    async def caught_up(self, projection: str = TALLIES.name) -> Generation:
        """Wait until the projection answers for the whole log."""
        head = await self.head()
        serving: Generation | None = None

        async def holds() -> bool:
            nonlocal serving
            serving = await self.generation(projection)
            return serving is not None and serving.position >= head

        await eventually(holds)
        assert serving is not None
        return serving

    async def amounts(self) -> list[tuple[int, Decimal]]:
        """What the projection that answers holds: position and amount, in order."""
        serving = await self.generation()
        assert serving is not None
        return await self.amounts_in(serving)

    async def amounts_in(self, generation: Generation) -> list[tuple[int, Decimal]]:
        """The same of a generation's table."""
        query = f"SELECT position, amount FROM {generation.table} FINAL ORDER BY position"
        return [(position, amount) for position, amount in await self.clickhouse.rows(query)]

    def owner(self) -> "psycopg.Connection[Any]":
        """A connection that may do anything."""
        return psycopg.connect(self.owner_url, autocommit=True)

    @property
    def worker_url(self) -> str:
        """Postgres, as erp_worker."""
        return with_user(self.owner_url, "erp_worker")

    def projector(
        self, *projections: Projection, interval_s: float = 0.02, patience_s: float = 0.1
    ) -> Projector:
        """A projector, not running."""
        return Projector(
            self.worker_url,
            self.clickhouse,
            CODEC,
            projections or (TALLIES,),
            patience_s=patience_s,
            interval_s=interval_s,
        )


@asynccontextmanager
async def world(owner_url: str, clickhouse_url: str) -> AsyncIterator[World]:
    """A world around a migrated database whose log is empty, and an empty ClickHouse database."""
    async with (
        EventStore(with_user(owner_url, "erp_app"), CODEC) as store,
        ClickHouse(lambda: clickhouse_url) as clickhouse,
        await psycopg.AsyncConnection.connect(
            with_user(owner_url, "erp_worker"), autocommit=True
        ) as connection,
    ):
        yield World(owner_url, clickhouse, store, new_tenant(owner_url), connection)


@asynccontextmanager
async def running(*projectors: Projector) -> AsyncIterator[Sequence["asyncio.Task[None]"]]:
    """They run for the duration, and end well."""
    tasks = [asyncio.create_task(each.run()) for each in projectors]
    try:
        yield tasks
    finally:
        for each in projectors:
            each.stop()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)
