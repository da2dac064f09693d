"""Companies whose books are kept in a real store and read from a real ClickHouse, in one process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from commands.bus import Answer
from commands.finance import OpenAccount, OpenFiscalYear, PostJournalEntry
from commands.inventory import ReceiveStock, RegisterItem, ReserveStock
from commands.sales import ConfirmOrder, PlaceOrder, ReturnOrder, ShipOrder
from domain.finance.account import AccountType
from erp.contexts import aggregates, handlers, projections
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from eventstore.vault import Vault
from projections.clickhouse import ClickHouse
from projections.finance.tables import DAILY_BALANCES
from projections.projector import Projector
from projections.reading import ReadSide
from sagas.base import SagaStatus
from sagas.events import Cause, HeldEvent
from sagas.order_to_cash import OrderToCash
from tests.dsl import Company
from tests.eventstore.conftest import new_tenant
from tests.eventstore.tally import Tally, append, blank
from tests.projections.world import running

BUCKET = DAILY_BALANCES.definition.step
_AT_ONCE = 4096


@dataclass
class Companies:
    """A store that several tenants share, and the read side of it."""

    owner_url: str
    store: EventStore
    read_side: ReadSide

    def company(self) -> Company:
        """A tenant with nothing in its books, on the tenth of February 2026."""
        vault = Vault(self.store.rows, bytes(32))
        made = Company(self.store, handlers(), new_tenant(self.owner_url), vault=vault)
        made.now = datetime(2026, 2, 10, 12, tzinfo=UTC)
        return made

    async def fill_a_bucket(self) -> None:
        """Let the log go on to the end of a bucket of daily balances, with events of nobody's books, and wait
        until it is closed.
        """
        tenant = new_tenant(self.owner_url)
        head = await self.store.head()
        end = (head // BUCKET + 1) * BUCKET
        for start in range(head, end, _AT_ONCE):
            tally = blank()
            for _ in range(min(_AT_ONCE, end - start)):
                tally.add()
            await append(self.store, tenant, tally)
        await self.read_side.standing([DAILY_BALANCES], min_position=end, wait_s=60)

    async def caught_up(self) -> None:
        """Wait until every projection has what is in the log (those that go by steps: their steps)."""
        await self.read_side.standing(projections(), min_position=await self.store.head(), wait_s=60)


@asynccontextmanager
async def companies(owner_url: str, clickhouse_url: str) -> AsyncIterator[Companies]:
    """A log of its own, projected all the while."""
    codec = Codec([*aggregates(), Tally])
    async with (
        EventStore(with_user(owner_url, "erp_app"), codec) as store,
        ClickHouse(lambda: clickhouse_url) as clickhouse,
    ):
        worker = with_user(owner_url, "erp_worker")
        async with running(Projector(worker, clickhouse, codec, projections())):
            yield Companies(owner_url, store, ReadSide(clickhouse, store))


async def open_books(company: Company, mark: str) -> None:
    """A fiscal year and accounts, whose names carry the mark."""
    await company.execute(OpenFiscalYear(year=2026, start=date(2026, 1, 1)))
    accounts = {"1122": AccountType.ASSET, "6001": AccountType.INCOME, "5001": AccountType.EXPENSE}
    for code, kind in accounts.items():
        await company.execute(OpenAccount(code=code, name=f"{mark} {code}", type=kind))


async def post(company: Company, amount: str, mark: str, *, draft: bool = False, **more: Any) -> Answer:
    """An entry whose texts carry the mark."""
    lines: list[dict[str, Any]] = [
        {"account": "1122", "debit": amount, "memo": mark, "party": mark, "dimensions": {"cost": mark}},
        {"account": "6001", "credit": amount},
    ]
    entry = {
        "posting_date": date(2026, 1, 15),
        "currency": "EUR",
        "reference": mark,
        "lines": lines,
        "post": not draft,
        **more,
    }
    return await company.execute(PostJournalEntry.model_validate(entry))


async def keep_stock(company: Company, amount: str, mark: str) -> None:
    """An item named by the mark, of which ten came in and two were promised."""
    item = {
        "sku": mark,
        "name": f"{mark} bolt",
        "unit": "pcs",
        "valuation": "fifo",
        "currency": "EUR",
        "reorder_point": "10",
    }
    await company.execute(RegisterItem.model_validate(item))
    at = {"warehouse": f"{mark} main", "sku": mark}
    goods = {**at, "quantity": "10", "unit_cost": amount, "reference": mark}
    await company.execute(ReceiveStock.model_validate(goods))
    await company.execute(ReserveStock.model_validate({**at, "reservation_id": mark, "quantity": "2"}))


async def sell(company: Company, amount: str, mark: str) -> Answer:
    """An order by and of the mark that was confirmed and shipped; another one came back."""
    address = {"name": "Erika", "line1": "", "city": "Köln", "postal_code": "51147", "country": "DE"}
    placed = PlaceOrder.model_validate(
        {
            "customer_id": mark,
            "customer_tier": "bronze",
            "currency": "EUR",
            "warehouse": f"{mark} main",
            "lines": [{"sku": mark, "name": mark, "quantity": "1", "unit_price": amount}],
            "shipping_address": {name: text or mark for name, text in address.items()},
            "payment": {"method": "card", "token": "tok_ok"},
        }
    )
    for goes_back in (True, False):
        order = await company.execute(placed)
        await company.execute(ConfirmOrder(id=order.id, revision=1, payment_id=UUID(int=17)))
        await company.execute(ShipOrder(id=order.id))
        if goes_back:
            await company.execute(ReturnOrder(id=order.id, reason=mark))
    return order


async def hear(store: EventStore, tenant: UUID, mark: str) -> None:
    """A saga of the mark that keeps an event until the one comes that starts it."""
    saga = OrderToCash.blank(OrderToCash.id_of(tenant, mark))
    now = datetime(2026, 2, 10, 12, tzinfo=UTC)
    cause = Cause(uuid4(), "sales.order.shipped", "sales.order", uuid4(), 3, 1, now, mark)
    held = HeldEvent(cause, 1, None, None, {}, mark)
    saga.trigger_event(OrderToCash.Held, at=now, status=SagaStatus.NOT_STARTED, key=mark, held=held)
    await store.append(
        tenant=tenant,
        changed=[saga],
        reads=[],
        metadata={},
        idempotency_key=str(uuid4()),
        request_hash=b"request",
        answer={},
    )
