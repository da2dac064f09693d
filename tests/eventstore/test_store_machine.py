"""The store against a plain model in memory: whatever happens in whatever order, the two say the same."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventstore.cache import AggregateCache
from eventstore.codec import Codec
from eventstore.request import AppendReceipt
from eventstore.store import EventStore, StoreOptions
from tests.eventstore.conftest import MakeTenant
from tests.eventstore.tally import Tally, append

pytestmark = pytest.mark.integration

T = TypeVar("T")

TENANTS, STREAMS, STORES = range(2), range(3), range(2)
SERIES = ("a", "b")
# Few events a snapshot, and room for few aggregates: what is rare in life happens all the time here.
OPTIONS = (StoreOptions(snapshot_every_events=3), StoreOptions(snapshot_every_events=4, cache_bytes_max=2500))

Change = tuple[str, int | str]
changes = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(-9, 9)), st.tuples(st.just("number"), st.sampled_from(SERIES))
    ),
    min_size=1,
    max_size=4,
)


@dataclass
class Held:
    """A copy of an aggregate as somebody saw it, to decide on later."""

    tenant: int
    stream: int
    aggregate: Tally


@dataclass
class Books:
    """What a tenant's part of the log must hold: (stream, version, what happened), and the series' last
    numbers.
    """

    log: list[tuple[int, int, Change | tuple[str, str, int]]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    commands: dict[str, tuple[bytes, AppendReceipt]] = field(default_factory=dict)

    def version(self, stream: int) -> int:
        return sum(entry[0] == stream for entry in self.log)

    def append(self, stream: int, changes: list[Change]) -> None:
        for kind, argument in changes:
            happened: Any = (kind, argument)
            if kind == "number":
                series = str(argument)
                self.numbers[series] = self.numbers.get(series, 0) + 1
                happened = (kind, series, self.numbers[series])
            self.log.append((stream, self.version(stream) + 1, happened))

    def state(self, stream: int, version: int) -> tuple[Decimal, int | None]:
        """Total and number of the tally after its first events."""
        total, number = Decimal(0), None
        for _, _, happened in [entry for entry in self.log if entry[0] == stream][:version]:
            if happened[0] == "add":
                total += int(happened[1])
            else:
                number = happened[2]  # type: ignore[misc]
        return total, number


class StoreMachine(RuleBasedStateMachine):
    """Two stores, two tenants, three streams each; copies are held and used when they may be outdated."""

    app_url: str
    reader_url: str
    make_tenant: Callable[[], UUID]

    held: Bundle[Held] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.open = AsyncExitStack()
        self.stores: list[EventStore] = []
        self.tenants: list[UUID] = []
        self.ids: dict[tuple[int, int], UUID] = {}
        self.books = [Books() for _ in TENANTS]
        self.last_position = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    async def start(self, store: int) -> None:
        opened = EventStore(self.app_url, Codec([Tally]), OPTIONS[store])
        self.stores[store : store + 1] = [await self.open.enter_async_context(opened)]

    @initialize()
    def begin(self) -> None:
        self.tenants = [self.make_tenant() for _ in TENANTS]
        self.ids = {(tenant, stream): uuid4() for tenant in TENANTS for stream in STREAMS}
        for store in STORES:
            self.run(self.start(store))
        self.reader = psycopg.connect(self.reader_url, autocommit=True)

    def teardown(self) -> None:
        self.run(self.open.aclose())
        self.runner.close()
        if self.stores:
            self.reader.close()

    # What people do

    @rule(
        target=held,
        store=st.sampled_from(STORES),
        tenant=st.sampled_from(TENANTS),
        stream=st.sampled_from(STREAMS),
    )
    def look(self, store: int, tenant: int, stream: int) -> Held:
        """Somebody takes a copy, perhaps from the cache, perhaps an old one."""
        loaded = self.run(self.stores[store].load(Tally, self.ids[tenant, stream], self.tenants[tenant]))
        self.check(tenant, stream, loaded)
        return Held(tenant, stream, loaded.editable_copy())

    @rule(
        store=st.sampled_from(STORES),
        writes=consumes(held),
        reads=st.lists(held, max_size=2),
        changes=changes,
        also=held,
    )
    def decide(self, store: int, writes: Held, reads: list[Held], changes: list[Change], also: Held) -> None:
        """Somebody changes what he had looked at, perhaps with another stream, relying on others."""
        books = self.books[writes.tenant]
        together = [writes]
        if also.tenant == writes.tenant and also.stream != writes.stream:
            together.append(Held(also.tenant, also.stream, also.aggregate.editable_copy()))
        written = {held.stream for held in together}
        relied = [held for held in reads if held.tenant == writes.tenant and held.stream not in written]
        is_current = all(
            held.aggregate.version == books.version(held.stream) for held in (*together, *relied)
        )
        for held in together:
            self.change(held.aggregate, changes)
        key = uuid4().hex
        receipt = self.append(store, together, relied, key, b"request")
        assert receipt.outcome == ("appended" if is_current else "conflict")
        if is_current:
            for held in together:
                books.append(held.stream, changes)
            self.settle(writes.tenant, key, receipt)

    @rule(
        store=st.sampled_from(STORES),
        tenant=st.sampled_from(TENANTS),
        stream=st.sampled_from(STREAMS),
        changes=changes,
    )
    def decide_on_what_is(self, store: int, tenant: int, stream: int, changes: list[Change]) -> None:
        """Somebody looks at the log and changes at once: nothing can come between."""
        current = self.run(
            self.stores[store].load_current(Tally, self.ids[tenant, stream], self.tenants[tenant])
        )
        held = Held(tenant, stream, current.editable_copy())
        self.change(held.aggregate, changes)
        key = uuid4().hex
        receipt = self.append(store, [held], [], key, b"request")
        assert receipt.outcome == "appended"
        self.books[tenant].append(stream, changes)
        self.settle(tenant, key, receipt)

    @precondition(lambda self: any(books.commands for books in self.books))
    @rule(store=st.sampled_from(STORES), held=held, data=st.data(), same=st.booleans())
    def repeat(self, store: int, held: Held, data: st.DataObject, same: bool) -> None:
        """Somebody uses a key again, for the same request or another, whatever his copy is by now."""
        known = self.books[held.tenant].commands
        if not known:
            return
        key = data.draw(st.sampled_from(sorted(known)))
        request_hash, first = known[key]
        asked = request_hash if same else b"another"
        copy = Held(held.tenant, held.stream, held.aggregate.editable_copy())
        copy.aggregate.add(Decimal(7))
        receipt = self.append(store, [copy], [], key, asked)
        found = self.run(self.stores[store].find(self.tenants[held.tenant], key, asked))
        assert found is not None
        assert receipt.outcome == found.outcome == ("replayed" if same else "key_reused")
        if same:
            assert receipt == found
            assert (receipt.position, receipt.recorded_at, receipt.answer) == (
                first.position,
                first.recorded_at,
                first.answer,
            )

    @rule(store=st.sampled_from(STORES), restarts=st.booleans())
    def forget(self, store: int, restarts: bool) -> None:
        """A process loses its memory, or is replaced by another."""
        if restarts:
            self.run(self.start(store))
        else:
            self.stores[store]._cache = AggregateCache(OPTIONS[store].cache_bytes_max)

    # What must hold

    @invariant()
    def log_is_as_the_model_has_it(self) -> None:
        """Dense sequence, versions, numbers, and what happened."""
        for tenant, uuid in enumerate(self.tenants):
            rows = self.reader.execute(
                """SELECT tenant_seq, stream_id, version, series, number, data FROM erp.events
                    WHERE tenant = %s ORDER BY position""",
                [uuid],
            ).fetchall()
            log = self.books[tenant].log
            assert [row[0] for row in rows] == list(range(1, len(log) + 1))
            for (_, stream_id, version, series, number, data), (stream, v, happened) in zip(
                rows, log, strict=True
            ):
                assert (stream_id, version) == (self.ids[tenant, stream], v)
                if happened[0] == "number":
                    assert ("number", series, number) == happened
                else:
                    assert (series, data.decode()) == (None, f'{{"amount":"{happened[1]}","note":""}}')

    @invariant()
    def aggregates_are_as_the_model_has_them(self) -> None:
        """From the log every store loads the present state; from its cache this or an earlier one."""
        for tenant, stream in self.ids:
            for store in self.stores:
                stream_id, uuid = self.ids[tenant, stream], self.tenants[tenant]
                self.check(tenant, stream, self.run(store.load(Tally, stream_id, uuid)))
                current = self.run(store.load_current(Tally, stream_id, uuid))
                self.check(tenant, stream, current)
                assert current.version == self.books[tenant].version(stream)

    @invariant()
    def memory_is_bounded(self) -> None:
        """No store keeps more than it may."""
        for store, options in zip(self.stores, OPTIONS, strict=False):
            assert store._cache.size_bytes <= options.cache_bytes_max

    # How

    def check(self, tenant: int, stream: int, loaded: Tally) -> None:
        books = self.books[tenant]
        assert loaded.version <= books.version(stream)
        assert (loaded.total, loaded.number) == books.state(stream, loaded.version)

    def change(self, tally: Tally, changes: list[Change]) -> None:
        for kind, argument in changes:
            if kind == "add":
                tally.add(Decimal(argument))
            else:
                tally.take_number(str(argument))

    def append(
        self, store: int, changed: list[Held], reads: list[Held], key: str, request_hash: bytes
    ) -> AppendReceipt:
        return self.run(
            append(
                self.stores[store],
                self.tenants[changed[0].tenant],
                *(held.aggregate for held in changed),
                reads=tuple(held.aggregate for held in reads),
                key=key,
                request_hash=request_hash,
            )
        )

    def settle(self, tenant: int, key: str, receipt: AppendReceipt) -> None:
        assert receipt.tenant_seq == len(self.books[tenant].log)
        assert receipt.position > self.last_position
        self.last_position = receipt.position
        self.books[tenant].commands[key] = (b"request", receipt)


def test_store_against_model(app_url: str, reader_url: str, make_tenant: MakeTenant) -> None:
    """Appends right and outdated, reads, numbers, keys again, caches lost: the store does what the model
    does.
    """
    bound = {"app_url": app_url, "reader_url": reader_url, "make_tenant": staticmethod(make_tenant)}
    machine = type("BoundStoreMachine", (StoreMachine,), bound)
    few = settings(
        max_examples=20,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(machine, settings=few)
