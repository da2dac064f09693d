"""A company without a database: its real commands and sagas, on a log in memory, with several workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson

from commands.bus import Answer, Bus, Command, Context
from commands.finance import (
    HANDLERS as FINANCE,
)
from commands.finance import (
    Accounts,
    ClosePeriod,
    OpenAccount,
    OpenFiscalYear,
    ReopenPeriod,
    SetAccountMapping,
)
from commands.inventory import HANDLERS as INVENTORY
from commands.inventory import ReceiveStock, RegisterItem
from commands.payments import HANDLERS as PAYMENTS
from commands.payments import Till
from commands.permissions import Permissions
from commands.sales import HANDLERS as SALES
from commands.sales import PlaceOrder
from domain.finance.account import Account as LedgerAccount
from domain.finance.account_mapping import AccountMapping
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.finance.journal_entry import JournalEntry
from domain.inventory.item import Item
from domain.inventory.stock import Stock, stock_id
from domain.payments.payment import Payment
from domain.sales.order import Order
from domain.sales.pricing_policy import PricingPolicy
from domain.shared.aggregate import Aggregate
from eventstore.codec import Codec
from eventstore.leaf import StoredEvent
from sagas.base import Saga
from sagas.inventory_voucher import InventoryVoucher
from sagas.order_to_cash import OrderToCash
from sagas.process import Process
from sagas.reservation_expiry import ReservationExpiry
from sagas.runner import Runner
from sagas.status import SagaWorkerStatus
from sagas.timers import RETRY, Timer
from sagas.turn import Tools
from tests.sagas.orders.memory_log import Crash, Log, MemoryStore, MemoryVault
from tests.sagas.orders.teller import Teller

SAGAS: tuple[type[Saga], ...] = (OrderToCash, InventoryVoucher, ReservationExpiry)
AGGREGATES: tuple[type[Aggregate], ...] = (
    LedgerAccount,
    AccountMapping,
    ApprovalPolicy,
    FiscalCalendar,
    JournalEntry,
    Item,
    Stock,
    Order,
    PricingPolicy,
    Payment,
    *SAGAS,
)
_INTERESTED: dict[str, list[type[Saga]]] = {}
for _saga in SAGAS:
    for _event in (*_saga.STARTS, *_saga.HEARS):
        _INTERESTED.setdefault(_event.TOPIC, []).append(_saga)

TENANT = UUID(int=1)
START = datetime(2026, 3, 10, 9, tzinfo=UTC)
MAIN = "main"

PARTS = {
    "inventory": ("1405", "asset"),
    "goods_received_not_invoiced": ("2203", "liability"),
    "cost_of_goods_sold": ("6401", "expense"),
    "receivable": ("1122", "asset"),
    "revenue": ("6001", "income"),
    "shipping_revenue": ("6002", "income"),
    "tax": ("2221", "liability"),
    "cash": ("1002", "asset"),
    "inventory_adjustments": ("6402", "expense"),
}
NORTH = "1406"
"""The inventory account of the warehouse `north`."""
ADDRESS = {"name": "E. M.", "line1": "Street 1", "city": "Town", "postal_code": "12345", "country": "DE"}


def books(year: int = START.year, *, with_mapping: bool = True) -> list[Command]:
    """Chart, two years and mapping."""
    accounts = Accounts.model_validate({part: code for part, (code, _) in PARTS.items()})
    opened: list[Command] = [
        OpenAccount.model_validate({"code": code, "name": code, "type": kind})
        for code, kind in (*PARTS.values(), (NORTH, "asset"))
    ]
    opened += [OpenFiscalYear(year=each, start=date(each, 1, 1)) for each in (year, year + 1)]
    if with_mapping:
        opened.append(SetAccountMapping(accounts=accounts, warehouses={"north": NORTH}))
    return opened


def item(sku: str, valuation: str = "fifo") -> RegisterItem:
    """Something to sell."""
    fields = {"sku": sku, "name": sku, "unit": "pcs", "valuation": valuation, "currency": "EUR"}
    return RegisterItem.model_validate({**fields, "weight_kg": "0.5"})


def receive(sku: str, quantity: str, unit_cost: str, **more: Any) -> ReceiveStock:
    """Goods come in."""
    said = {"warehouse": MAIN, "sku": sku, "quantity": quantity, "unit_cost": unit_cost, **more}
    return ReceiveStock.model_validate(said)


def order(*lines: tuple[str, str], token: str = "tok_ok", price: str = "10.00") -> PlaceOrder:  # noqa: S107 - no secret
    """Somebody wants these quantities of these skus."""
    wanted = [{"sku": sku, "name": sku, "quantity": quantity, "unit_price": price} for sku, quantity in lines]
    return PlaceOrder.model_validate(
        {
            "customer_id": "c-1",
            "customer_tier": "gold",
            "currency": "EUR",
            "warehouse": MAIN,
            "lines": wanted,
            "shipping_address": ADDRESS,
            "payment": {"method": "card", "token": token},
        }
    )


class MemoryTimers:
    """Timers of all sagas, in memory."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._rows: dict[tuple[UUID, str], tuple[Timer, int]] = {}
        self._set = 0

    async def set(self, saga: Process, tenant: UUID) -> None:
        for name, due_at in saga.timers.items():
            self._put(Timer(saga.id, name, saga.TOPIC, tenant, due_at), saga.version)

    async def set_retry(self, saga: Process, tenant: UUID, *, after_s: float) -> None:
        self._set += 1
        # Time goes on, so no two retries are due at the same instant.
        due_at = self._clock() + timedelta(seconds=after_s, microseconds=self._set)
        self._put(Timer(saga.id, RETRY, saga.TOPIC, tenant, due_at), saga.version)

    async def clear(self, saga: Process, names: Sequence[str]) -> None:
        for name in names:
            row = self._rows.get((saga.id, name))
            if row is not None and row[1] <= saga.version:
                del self._rows[saga.id, name]

    async def clear_others(self, saga: Process, names: Sequence[str]) -> None:
        await self.clear(saga, [name for id_, name in self._rows if id_ == saga.id and name not in names])

    def _put(self, timer: Timer, version: int) -> None:
        row = self._rows.get((timer.saga_id, timer.name))
        if row is None or row[1] <= version:
            self._rows[timer.saga_id, timer.name] = (timer, version)

    def due(self, *, retries: bool = True) -> list[Timer]:
        """Those whose instant has come; retries count whenever it is asked for them."""
        now = self._clock()
        rows = [timer for timer, _ in self._rows.values()]
        return [each for each in rows if (retries and each.name == RETRY) or each.due_at <= now]

    async def settle(self, timer: Timer) -> None:
        row = self._rows.get((timer.saga_id, timer.name))
        if row is not None and row[0].due_at == timer.due_at:
            del self._rows[timer.saga_id, timer.name]


@dataclass
class Worker:
    """One process of the saga role."""

    bus: Bus
    runner: Runner


@dataclass
class Office:
    """The company.

    Attributes:
        now: what time it is.
        crash_in: after so many more moments at which it matters, the worker dies; None: never.
    """

    now: datetime = START
    teller: Teller = field(default_factory=Teller)
    crash_in: int | None = None
    worker_count: int = 2

    def __post_init__(self) -> None:
        self.tenant = TENANT
        self.codec = Codec(AGGREGATES)
        self.handlers = {**FINANCE, **INVENTORY, **SALES, **PAYMENTS}
        self.procedures = Till(self.teller).procedures()
        self.heard: dict[tuple[str, UUID], int] = {}
        self._working = False
        self.log = Log(self.codec, lambda: self.now, on_append=self._moment)
        self.timers: Any = MemoryTimers(lambda: self.now)
        self.store: Any = self.new_store()
        self.bus = self._bus(self.store)
        self.workers = [self._worker() for _ in range(self.worker_count)]

    def new_store(self) -> Any:
        """What another process has of the log."""
        return MemoryStore(self.log)

    def events(self) -> Sequence[StoredEvent]:
        """The log."""
        return self.log.events

    def _moment(self) -> None:
        if self._working and self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise Crash

    def _bus(self, store: Any) -> Bus:
        return Bus(
            store,
            self.handlers,
            self.procedures,
            new_id=uuid4,
            clock=lambda: self.now,
            vault=MemoryVault(),
        )

    def _worker(self) -> Worker:
        store = self.new_store()
        bus = self._bus(store)
        tools = Tools(
            store=store,
            bus=bus,
            timers=self.timers,
            commands={each.TOPIC: each for each in (*self.handlers, *self.procedures)},
            aggregates={each.TOPIC: each for each in AGGREGATES},
            clock=lambda: self.now,
            status=SagaWorkerStatus(),
            pauses_s=(),
        )
        return Worker(bus, Runner(tools, self.codec))

    # People

    async def do(self, *steps: Command) -> Answer:
        """Somebody asks for something."""
        for step in steps:
            answer = await self.bus.execute(step, self._context())
        return answer

    def _context(self) -> Context:
        key = str(uuid4())
        return Context(self.tenant, "alice", Permissions(["*"]), key, key.encode(), correlation_id=key)

    async def load(self, aggregate_class: type[Any], stream_id: UUID) -> Any:
        return await self.store.load_current(aggregate_class, stream_id, self.tenant)

    async def stock(self, sku: str, warehouse: str = MAIN) -> Stock:
        found = await self.load(Stock, stock_id(self.tenant, warehouse, sku))
        assert isinstance(found, Stock)
        return found

    # Workers

    def waiting(self) -> list[tuple[type[Saga], StoredEvent]]:
        """The next event of each stream that sagas of each class have not heard of."""
        found: dict[tuple[type[Saga], UUID], StoredEvent] = {}
        for event in self.events():
            for saga in _INTERESTED.get(event.type, ()):
                if event.version > self.heard.get((saga.TOPIC, event.stream_id), 0):
                    found.setdefault((saga, event.stream_id), event)
        return [(saga, event) for (saga, _), event in found.items()]

    async def deliver(self, saga: type[Saga], event: StoredEvent, worker: int = 0) -> None:
        """A worker hears of an event; it comes again if the worker dies over it."""
        if await self._survives(worker, lambda at: at.runner.hear(saga, event)):
            key = (saga.TOPIC, event.stream_id)
            self.heard[key] = max(event.version, self.heard.get(key, 0))

    async def wake(self, timer: Timer, worker: int = 0) -> None:
        """A worker wakes a saga."""
        saga = next(each for each in SAGAS if timer.saga_type == each.TOPIC)
        if await self._survives(worker, lambda at: at.runner.wake(saga, timer)):
            await self.timers.settle(timer)

    async def _survives(self, worker: int, work: Callable[[Worker], Any]) -> bool:
        self._working = True
        try:
            await work(self.workers[worker])
        except Crash:
            self.workers[worker] = self._worker()
            return False
        finally:
            self._working = False
        return True

    async def settle(self) -> None:
        """Until nothing is left to hear of and nothing is due."""
        self.crash_in = None
        for _ in range(2000):
            waiting, due = self.waiting(), self.timers.due()
            for saga, event in waiting:
                await self.deliver(saga, event)
            before = len(self.events())
            for timer in due:
                await self.wake(timer)
            if not waiting and len(self.events()) == before:
                return
        raise AssertionError("it does not come to rest")

    async def close(self) -> None:
        """This month and those before it are closed."""
        for month in range(1, self.now.month + 1):
            await self.do(ClosePeriod(period=f"{self.now.year}-{month:02}"))

    async def reopen(self) -> None:
        """This month is open again."""
        await self.do(ReopenPeriod(period=f"{self.now.year}-{self.now.month:02}"))

    # What came of it

    def entries(self) -> list[dict[str, Any]]:
        """What was posted, as the log has it."""
        return [orjson.loads(e.data) for e in self.events() if e.type == JournalEntry.Posted.TOPIC]

    def balance(self, part: str) -> Decimal:
        """Debit minus credit of the account that plays a part, or has that code."""
        code = PARTS[part][0] if part in PARTS else part
        return sum(
            (
                Decimal(line["debit"] or 0) - Decimal(line["credit"] or 0)
                for entry in self.entries()
                for line in entry["lines"]
                if line["account"] == code
            ),
            Decimal(0),
        )

    async def all(self, aggregate_class: type[Any]) -> list[Any]:
        """Every one of them."""
        ids = dict.fromkeys(e.stream_id for e in self.events() if e.stream_type == aggregate_class.TOPIC)
        return [await self.load(aggregate_class, each) for each in ids]

    async def steps(self, order_id: UUID) -> list[str]:
        """What its process did, and how it went."""
        saga = await self.saga(order_id)
        return [f"{each.asked.name} {each.code or each.status}" for each in saga.steps]

    async def saga(self, order_id: UUID) -> Any:
        """The process of an order."""
        return await self.load(OrderToCash, OrderToCash.id_of(self.tenant, str(order_id)))
