"""What the sagas have done: the tenant's log, read as it grows.

An order is decided when it is confirmed or cancelled, and done when its saga has ended: its goods have left
the stock, its money is taken, its vouchers are posted. Movements of stock are booked by sagas of their own.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import orjson

from domain.sales.order import Order
from erp.order_import.carrying import NotPossible
from eventstore.leaf import StoredEvent
from eventstore.store import EventStore
from sagas.inventory_voucher import InventoryVoucher
from sagas.order_to_cash import OrderToCash
from sagas.process import SagaStatus

T = TypeVar("T")

_TYPES: Final = (
    Order.Confirmed.TOPIC,
    Order.Cancelled.TOPIC,
    *(movement.TOPIC for movement in InventoryVoucher.STARTS),
    *(event.TOPIC for saga in (OrderToCash, InventoryVoucher) for event in saga.event_types()),
)
_MOVEMENTS: Final = frozenset(movement.TOPIC for movement in InventoryVoucher.STARTS)
_OVER: Final = frozenset({SagaStatus.ENDED, SagaStatus.ABORTED})

_LOOK_EVERY_S: Final = 0.1
_PAGE_EVENTS: Final = 2_000
_PAGE_BYTES: Final = 16 * 1024 * 1024


class Standstill(Exception):
    """What is waited for does not come."""


class Decision(NamedTuple):
    """What became of an order that was placed; `code` and `reason` are empty when it is confirmed."""

    code: str = ""
    reason: str = ""


class Watch:
    """Follows what happens in the books of a tenant, for as long as `following` lasts.

    Args:
        patience_s: without any news for so long, whoever waits is told that nothing moves.
    """

    def __init__(self, store: EventStore, tenant: UUID, *, patience_s: float) -> None:
        self._store = store
        self._tenant = tenant
        self._patience_s = patience_s
        self._seq = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._news_at = 0.0
        self._broken: Exception | None = None
        self._decisions: dict[UUID, Decision] = {}
        self._statuses: dict[UUID, str] = {}
        """Of sagas, by id, as long as they are not over."""
        self._outcomes: dict[UUID, str] = {}
        """Of the sagas of orders, by id."""
        self._unbooked: set[UUID] = set()
        """The sagas of movements that are not booked yet."""

    @contextlib.asynccontextmanager
    async def following(self, after_position: int) -> AsyncIterator[None]:
        """Meanwhile everything that is recorded after this position is taken note of."""
        self._seq = await self._store.tenant_seq_at(self._tenant, after_position)
        reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def decided(self, order: UUID) -> Decision:
        """What became of an order that was placed.

        Raises:
            Standstill: nobody decides.
            Unavailable: the store went away.
        """
        return await self._until(lambda: self._decisions.get(order))

    async def shipped(self, order: UUID) -> None:
        """An order that was shipped has left the stock, is paid and in the books.

        Raises:
            NotPossible: its saga was put an end to.
            Standstill, Unavailable: as `decided` does.
        """
        await self._ended(order, ("completed", "returned"))

    async def returned(self, order: UUID) -> None:
        """An order that came back is in stock again, paid back and in the books.

        Raises: as `shipped` does.
        """
        await self._ended(order, ("returned",))

    async def _ended(self, order: UUID, how: tuple[str, ...]) -> None:
        saga = OrderToCash.id_of(self._tenant, str(order))

        def outcome() -> str | None:
            # One that goes on has no outcome yet, whatever it had.
            found = "" if saga in self._statuses else self._outcomes.get(saga, "")
            return found if found.startswith((*how, SagaStatus.ABORTED)) else None

        if await self._until(outcome) == SagaStatus.ABORTED:
            raise NotPossible("saga aborted", f"what became of order {order}, somebody has to look after")

    async def booked(self) -> None:
        """All movements that were recorded by now are in the books.

        Raises: as `decided` does.
        """
        head = await self._head()
        await self._until(lambda: None if self._seq < head or self._unbooked else True)

    async def _until(self, answer: Callable[[], T | None]) -> T:
        if not self._waiters:
            self._news_at = time.monotonic()
        while (found := answer()) is None:
            if self._broken is not None:
                raise self._broken
            news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(news)
            try:
                await news
            finally:
                self._waiters.discard(news)
        return found

    async def _read(self) -> None:
        while True:
            before = self._seq
            try:
                has_news = await self._look()
            except Exception as error:  # noqa: BLE001 - it is told to whoever waits
                self._broken = error
                self._tell(error)
                return
            if has_news:
                self._news_at = time.monotonic()
            if time.monotonic() - self._news_at > self._patience_s:
                self._tell(Standstill(self._standstill()))
            elif self._seq > before:
                self._tell(None)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> bool:
        """Take note of what was recorded since the last time; whether anything of it matters here."""
        head = await self._head()
        has_news = False
        while self._seq < head:
            # In small pages: the store looks through a whole one before it sends the first event.
            last = min(head, self._seq + _PAGE_EVENTS)
            events = await self._store.tenant_events(
                self._tenant, self._seq, last, types=_TYPES, bytes_max=_PAGE_BYTES
            )
            for each in events:
                self._note(each.event)
            self._seq = events[-1].event.tenant_seq if events else last
            has_news = has_news or bool(events)
        return has_news

    async def _head(self) -> int:
        """The last of the tenant's events."""
        return (await self._store.tenant_heads([self._tenant])).get(self._tenant, 0)

    def _note(self, event: StoredEvent) -> None:
        data = orjson.loads(event.data)
        if event.type == Order.Confirmed.TOPIC:
            self._decisions[event.stream_id] = Decision()
        elif event.type == Order.Cancelled.TOPIC:
            self._decisions[event.stream_id] = Decision(data["code"], data["reason"])
        elif event.type in _MOVEMENTS:
            if Decimal(data["value_change"]):
                key = f"{event.stream_id}/{event.version}"
                self._unbooked.add(InventoryVoucher.id_of(self._tenant, key))
        else:
            self._note_saga(event, data)

    def _note_saga(self, event: StoredEvent, data: dict[str, Any]) -> None:
        status = data["status"]
        if status not in _OVER:
            self._statuses[event.stream_id] = status
            return
        self._statuses.pop(event.stream_id, None)
        self._unbooked.discard(event.stream_id)
        if event.stream_type == OrderToCash.TOPIC:
            self._outcomes[event.stream_id] = data.get("ended") or status

    def _tell(self, error: Exception | None) -> None:
        for waiter in self._waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _standstill(self) -> str:
        told = (
            f"nothing has moved for {self._patience_s:g} s. The sagas have to run: `erp up`, or "
            "`erp worker --role saga`. Then start the import again: what is in the books stays there once"
        )
        waiting = sum(status == SagaStatus.WAITING for status in self._statuses.values())
        if waiting:
            told += f". {waiting} wait for what somebody has to mend: `erp sagas list --status waiting`"
        return told
