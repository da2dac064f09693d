"""What an import waits for: that the sagas have booked what was recorded, not what it has read of it yet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest

from domain.inventory.stock import Stock
from erp.embedded.address import with_user
from erp.order_import.watch import Standstill, Watch
from eventstore.codec import Codec
from eventstore.request import Check, NewEvent
from eventstore.store import EventStore
from sagas.inventory_voucher import InventoryVoucher
from tests.eventstore.conftest import new_tenant
from tests.eventstore.requests import call, new_event, new_request

pytestmark = pytest.mark.integration


class Books:
    """A tenant of its own, in which anything may be recorded."""

    def __init__(self, owner_url: str) -> None:
        self.owner_url = owner_url
        self.tenant = new_tenant(owner_url)

    def record(self, stream_type: str, stream: UUID, name: str, **data: str) -> None:
        event: NewEvent = new_event(
            stream, 1, data=orjson.dumps(data), stream_type=stream_type, event_type=name
        )
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            call(connection, new_request(self.tenant, event, checks=[Check(stream, stream_type, 0)]))

    def move_stock(self) -> UUID:
        """A receipt that is worth something; the id of the saga that is to book it."""
        stream = uuid4()
        self.record(Stock.TOPIC, stream, Stock.Received.TOPIC, value_change="5.00")
        return InventoryVoucher.id_of(self.tenant, f"{stream}/1")

    def end_saga(self, saga: UUID) -> None:
        name = next(iter(InventoryVoucher.event_types())).TOPIC
        self.record(InventoryVoucher.TOPIC, saga, name, status="ended")


@asynccontextmanager
async def watching(books: Books, *, patience_s: float) -> AsyncIterator[Watch]:
    """From the first event on; nothing here takes longer than twenty seconds."""
    async with EventStore(with_user(books.owner_url, "erp_app"), Codec([])) as store:
        watch = Watch(store, books.tenant, patience_s=patience_s)
        async with watch.following(0), asyncio.timeout(20):
            yield watch


async def test_a_movement_that_was_just_recorded_is_waited_for(postgres_url: str) -> None:
    books = Books(postgres_url)
    async with watching(books, patience_s=0.5) as watch:
        await watch.booked()
        saga = await asyncio.to_thread(books.move_stock)
        with pytest.raises(Standstill):
            await watch.booked()
        watch._patience_s = 30  # what follows takes as long as it takes
        waiting = asyncio.create_task(watch.booked())
        await asyncio.to_thread(books.end_saga, saga)
        await waiting


async def test_what_is_of_no_interest_holds_nothing_up(postgres_url: str) -> None:
    books = Books(postgres_url)
    async with watching(books, patience_s=30) as watch:
        await watch.booked()
        await asyncio.to_thread(books.record, "test.raw", uuid4(), "test.raw.happened")
        await watch.booked()
