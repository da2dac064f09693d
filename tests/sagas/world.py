"""What saga tests act on: a log with parcels in it, and the parts of saga workers, as many as are wanted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg

from commands.bus import Answer, Bus, Command, Context
from domain.shared.aggregate import Aggregate
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.leaf import StoredEvent
from eventstore.pool import Pool
from eventstore.store import EventStore
from sagas.alarm import Alarm
from sagas.base import Saga
from sagas.dead_letters import DeadLetters
from sagas.delivery import Delivery
from sagas.feed import Feed
from sagas.healer import Healer
from sagas.interests import Interests
from sagas.log import Log
from sagas.positions import Positions
from sagas.runner import Runner
from sagas.status import SagaWorkerStatus
from sagas.timers import Timers
from sagas.turn import Tools
from tests.eventstore.conftest import new_tenant
from tests.sagas.parcels import AGGREGATES, COMMANDS, Courier, Door, Lorry, Parcel, Receipt, door_id, lorry_id
from tests.sagas.parcels import new_bus as new_parcel_bus

CODEC = Codec(AGGREGATES)
GROUP = "test-saga"
PARTITIONS = 4


class Trap:
    """Stands before the bus: counts commands, and does what a test wants before or after one."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.sent: list[Command] = []
        self.before: Callable[[Command], Awaitable[None]] | None = None

    async def execute(self, command: Command, context: Context) -> Answer:
        """As the bus does."""
        self.sent.append(command)
        if self.before is not None:
            await self.before(command)
        return await self._bus.execute(command, context)


@dataclass
class Rig:
    """The parts of one saga worker, without Kafka."""

    url: str
    store: EventStore
    bus: Trap
    pool: Pool
    sagas: Sequence[type[Saga]]
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.status = SagaWorkerStatus()
        self.interests = Interests(self.sagas, [*AGGREGATES, *self.sagas], partitions=PARTITIONS)
        self.timers = Timers(self.pool, claim_s=self.options.pop("claim_s", 1.0))
        self.letters = DeadLetters(self.pool)
        self.log = Log(self.pool)
        self.positions = Positions(self.pool, GROUP)
        late_s = self.options.pop("late_s", 0.2)
        at_once_max = self.options.pop("at_once_max", 64)
        settings: dict[str, Any] = {"pauses_s": (0.01,), "retry_s": 0.3, "wait_s": 0.5, **self.options}
        self.tools = Tools(
            store=self.store,
            bus=self.bus,  # type: ignore[arg-type]
            timers=self.timers,
            commands={each.TOPIC: each for each in COMMANDS},
            aggregates={each.TOPIC: each for each in AGGREGATES},
            clock=lambda: datetime.now(UTC),
            status=self.status,
            **settings,
        )
        codec = Codec([*AGGREGATES, *(s for s in self.sagas if s not in AGGREGATES)])
        self.runner = Runner(self.tools, codec, at_once_max=at_once_max)
        self.delivery = Delivery(self.runner, self.interests, self.letters, self.timers, self.status)
        self.feed = Feed(self.interests, self.positions, self.delivery, self.log, self.status)
        self.healer = Healer(
            self.url,
            GROUP,
            interests=self.interests,
            feed=self.feed,
            delivery=self.delivery,
            positions=self.positions,
            letters=self.letters,
            store_log=self.log,
            status=self.status,
            late_s=late_s,
            look_s=0.05,
        )
        self.alarm = Alarm(self.timers, self.delivery, list(self.interests.sagas), self.status, look_s=0.05)

    @asynccontextmanager
    async def running(self, *parts: str) -> AsyncIterator["Rig"]:
        """Healer, alarm and feed, or those that are named, until the block ends."""
        named = parts or ("healer", "alarm", "feed")
        tasks = [asyncio.create_task(getattr(self, each).run()) for each in named]
        try:
            yield self
        finally:
            for part in (self.healer, self.alarm, self.feed, self.delivery):
                part.stop()
            await self.feed.drained(5)
            async with asyncio.timeout(10):
                await asyncio.gather(*tasks)
            await self.feed.save()


@dataclass
class World:
    """A log that is empty at first, in a database of its own."""

    owner_url: str
    tenant: UUID
    store: EventStore
    """That of a client, not of a worker."""
    stack: AsyncExitStack

    async def rig(self, *sagas: type[Saga], **options: Any) -> Rig:
        """The parts of another worker, with its own connections."""
        codec = Codec([*AGGREGATES, *(each for each in sagas if each not in AGGREGATES)])
        store = await self.stack.enter_async_context(EventStore(with_user(self.owner_url, "erp_app"), codec))
        url = with_user(self.owner_url, "erp_saga")
        pool = await self.stack.enter_async_context(Pool(url, size_max=4))
        return Rig(url, store, Trap(new_parcel_bus(store)), pool, sagas or (Courier,), options)

    async def append(self, *changed: Aggregate) -> None:
        """As a command does."""
        await self.store.append(
            tenant=self.tenant,
            changed=changed,
            reads=[],
            idempotency_key=str(uuid4()),
            request_hash=b"request",
            answer={},
            metadata={"actor": "tester", "correlation_id": "request-1"},
        )

    async def send(self, lorry: str = "red", patience_s: float | None = None) -> UUID:
        """A parcel is sent."""
        parcel = Parcel.blank(uuid4())
        parcel.sent(lorry, patience_s)
        await self.append(parcel)
        return parcel.id

    async def recall(self, parcel_id: UUID) -> None:
        """It is to come back."""
        parcel = (await self.store.load_current(Parcel, parcel_id, self.tenant)).editable_copy()
        parcel.recall()
        await self.append(parcel)

    async def label(self, parcel_id: UUID) -> None:
        """Nobody cares."""
        parcel = (await self.store.load_current(Parcel, parcel_id, self.tenant)).editable_copy()
        parcel.label()
        await self.append(parcel)

    async def sign(self, parcel_id: UUID) -> None:
        """The receiver has it."""
        receipt = Receipt.blank(uuid4())
        receipt.signed(parcel_id)
        await self.append(receipt)

    async def change_lorry(
        self, *, places: int = 1000, gate_is_closed: bool = False, name: str = "red"
    ) -> None:
        """Other rules hold."""
        found = await self.store.load_current(Lorry, lorry_id(self.tenant, name), self.tenant)
        lorry = found.editable_copy()
        lorry.change(places, gate_is_closed)
        await self.append(lorry)

    async def loaded(self, name: str = "red") -> tuple[str, ...]:
        """What is on the lorry, as often as it was loaded."""
        return (await self.store.load_current(Lorry, lorry_id(self.tenant, name), self.tenant)).loaded

    async def rung(self, parcel_id: UUID) -> int:
        """How often somebody rang."""
        return (await self.store.load_current(Door, door_id(str(parcel_id)), self.tenant)).rung

    async def saga(self, parcel_id: UUID, saga_class: type[Saga] = Courier) -> Any:
        """The parcel's saga."""
        return await self.store.load_current(
            saga_class, saga_class.id_of(self.tenant, str(parcel_id)), self.tenant
        )

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """As the owner."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def events(self, like: str = "test.%") -> list[StoredEvent]:
        """The log, as far as stream types are like this."""
        columns = ", ".join(StoredEvent._fields)
        found = self.rows(
            f"SELECT {columns} FROM erp.events WHERE stream_type LIKE %s ORDER BY position", like
        )
        return [StoredEvent(*row) for row in found]

    def history(self, saga_class: type[Saga] = Courier) -> list[tuple[str, dict[str, Any]]]:
        """The events of all sagas of a class: kind and data."""
        return [
            (each.type.rpartition(".")[2], orjson.loads(each.data)) for each in self.events(saga_class.TOPIC)
        ]


@asynccontextmanager
async def world(owner_url: str) -> AsyncIterator[World]:
    """A world around a migrated database whose log is empty."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(EventStore(with_user(owner_url, "erp_app"), CODEC))
        yield World(owner_url, new_tenant(owner_url), store, stack)
