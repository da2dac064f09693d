"""The same company on the real store: every command by Postgres, timers as rows."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from erp.embedded.address import with_user
from eventstore.leaf import StoredEvent
from eventstore.pool import Pool
from eventstore.store import EventStore
from sagas.timers import RETRY, Timer, Timers
from tests.eventstore.conftest import new_tenant
from tests.sagas.orders.office import Office

_COLUMNS = ", ".join(StoredEvent._fields)


class RowTimers(Timers):
    """Those of the worker; a test asks for what is due by its own clock."""

    def __init__(self, pool: Pool, office: "RealOffice") -> None:
        super().__init__(pool)
        self._office = office

    def due(self) -> list[Timer]:
        """Those whose instant has come; retries always."""
        rows = self._office.rows("SELECT saga_id, name, saga_type, tenant, due_at FROM erp.saga_timers")
        timers = [Timer(*row) for row in rows]
        return [each for each in timers if each.name == RETRY or each.due_at <= self._office.now]


@dataclass
class RealOffice(Office):
    """On a database of its own."""

    url: str = ""
    pool: Any = None
    stack: Any = None

    def __post_init__(self) -> None:
        self._stores: list[EventStore] = []
        super().__post_init__()
        self.timers = RowTimers(self.pool, self)
        self.tenant = new_tenant(self.url)

    def new_store(self) -> Any:
        store = EventStore(with_user(self.url, "erp_app"), self.codec)
        self._stores.append(store)
        return store

    async def open(self) -> None:
        """Connect."""
        for store in self._stores:
            await self.stack.enter_async_context(store)
        self.workers = [self._worker() for _ in range(self.worker_count)]
        for store in self._stores[-self.worker_count :]:
            await self.stack.enter_async_context(store)

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """As the owner."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def events(self) -> Sequence[StoredEvent]:
        query = f"SELECT {_COLUMNS} FROM erp.events WHERE tenant = %s ORDER BY position"
        return [StoredEvent(*row) for row in self.rows(query, self.tenant)]


@asynccontextmanager
async def real_office(url: str) -> AsyncIterator[RealOffice]:
    """Open for business."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(with_user(url, "erp_saga"), size_max=4))
        office = RealOffice(now=datetime.now(UTC), url=url, pool=pool, stack=stack)
        await office.open()
        yield office
