"""Snapshots and upcasters: an aggregate loads the same from a snapshot and from its events, new and old."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

import psycopg
import pytest

from domain.shared.aggregate import Aggregate, event
from eventstore.cache import Cached
from eventstore.codec import Codec, UnknownEvent
from eventstore.request import Check
from eventstore.store import EventStore, StoreOptions
from eventstore.upcasts import NoUpcast, Upcasts
from tests.eventstore.requests import call, new_event, new_request
from tests.eventstore.tally import Tally, append, blank

pytestmark = pytest.mark.integration

A = TypeVar("A", bound=Aggregate)

NEVER = StoreOptions(snapshot_every_events=10**9)


def snapshots(url: str, stream: UUID) -> list[tuple[int, str]]:
    """The versions and types of the stream's snapshots."""
    with psycopg.connect(url) as reader:
        rows = reader.execute(
            "SELECT version, type FROM erp.snapshots WHERE stream_id = %s ORDER BY version", [stream]
        ).fetchall()
    return [(version, name) for version, name in rows]


def in_place_of(past: type[Aggregate]) -> Callable[[type[A]], type[A]]:
    """The decorated class reads and writes the streams of another, as a later version of the program does.

    (Within one process the library insists on different names, so they are made alike afterwards.)
    """

    def rename(today: type[A]) -> type[A]:
        today.TOPIC = past.TOPIC
        for name, member in vars(past).items():
            if isinstance(member, type) and name in vars(today):
                vars(today)[name].TOPIC = member.TOPIC  # type: ignore[attr-defined]
        return today

    return rename


async def state_by(store: EventStore, tally: type[Tally], stream: UUID, tenant: UUID) -> Mapping[str, Any]:
    loaded = await store.load(tally, stream, tenant)
    return {**loaded.state(), "version": loaded.version}


async def test_ten_thousand_events(app_url: str, reader_url: str, tenant: UUID) -> None:
    """A long stream loads from its last snapshot and the few events after it, and equals the full replay."""
    stream = uuid4()
    async with EventStore(app_url, Codec([Tally]), StoreOptions(snapshot_every_events=1000)) as store:
        for n in range(20):
            tally = (await store.load(Tally, stream, tenant)).editable_copy()
            for m in range(501):
                tally.add(Decimal(n * 1000 + m) / 100, f"{n}/{m}")
            await append(store, tenant, tally)
    async with EventStore(app_url, Codec([Tally]), NEVER) as store:
        tally = (await store.load(Tally, stream, tenant)).editable_copy()
        for _ in range(7):
            tally.add(Decimal(0))
        await append(store, tenant, tally)
    taken = snapshots(reader_url, stream)
    assert len(taken) == 10
    async with (
        EventStore(app_url, Codec([Tally]), NEVER) as fresh,
        EventStore(app_url, Codec([Tally]), NEVER) as replay,
    ):
        answered: list[list[Any]] = []
        rows = fresh.rows

        async def watched(query: str, parameters: Any) -> list[Any]:
            answered.append(await rows(query, parameters))
            return answered[-1]

        fresh.rows = watched  # type: ignore[method-assign]
        from_snapshot = await state_by(fresh, Tally, stream, tenant)
        assert len(answered) == 1
        assert len(answered[0]) == 20 * 501 + 7 - taken[-1][0], "only the events after the snapshot"
        assert [row[1] is not None for row in answered[0]] == [True] + [False] * (len(answered[0]) - 1)
        whole = await replayed(replay, stream, tenant)
        assert {**whole.state(), "version": whole.version} == from_snapshot
    assert from_snapshot["version"] == 20 * 501 + 7
    assert from_snapshot["total"] == sum(Decimal(n * 1000 + m) / 100 for n in range(20) for m in range(501))


async def replayed(store: EventStore, stream: UUID, tenant: UUID) -> Tally:
    """As if there were no snapshot."""
    page = await store._page(Tally, stream, tenant, 0)
    return await store._caught_up(Cached(Tally.blank(stream), 0), page, tenant)


async def test_what_begins_with_a_known_event(app_url: str, tenant: UUID) -> None:
    """Its first event is enough to have it in the cache; what is there already stays."""
    async with EventStore(app_url, Codec([Tally])) as writer, EventStore(app_url, Codec([Tally])) as store:
        tally = Tally.blank(uuid4())
        tally.add(Decimal(1))
        (first,) = tally.pending_events
        await append(writer, tenant, tally)
        assert store.cached(Tally, tally.id, tenant) is None
        store.begin(Tally, tenant, cast("Aggregate.Event", first), 10)
        assert (await store.load(Tally, tally.id, tenant)).version == 1
        again = (await writer.load(Tally, tally.id, tenant)).editable_copy()
        again.add(Decimal(2))
        await append(writer, tenant, again)
        assert (await store.load_current(Tally, tally.id, tenant)).total == 3
        store.begin(Tally, tenant, cast("Aggregate.Event", first), 10)
        assert (await store.load(Tally, tally.id, tenant)).total == 3


async def test_snapshot_of_another_state_version(app_url: str, reader_url: str, tenant: UUID) -> None:
    """A snapshot of an aggregate whose state had another shape is passed over, by the newer and by the
    older code.
    """

    @in_place_of(Tally)
    class Reshaped(Aggregate):
        TOPIC = "test.tally_reshaped"
        STATE_VERSION = 2
        sum_and_count: tuple[Decimal, int] = (Decimal(0), 0)

        class Added(Aggregate.Event):
            TOPIC = "test.tally_reshaped.added"
            amount: Decimal
            note: str

        @event(Added)
        def _added(self, amount: Decimal, note: str) -> None:
            total, count = self.sum_and_count
            self.sum_and_count = total + amount, count + 1

    options = StoreOptions(snapshot_every_events=10)
    stream = uuid4()
    async with EventStore(app_url, Codec([Tally]), options) as old:
        tally = Tally.blank(stream)
        for _ in range(12):
            tally.add()
        await append(old, tenant, tally)
    assert snapshots(reader_url, stream) == [(12, "test.tally@1")]
    async with EventStore(app_url, Codec([Reshaped]), options) as new:
        loaded = await new.load(Reshaped, stream, tenant)
        assert (loaded.version, loaded.sum_and_count) == (12, (Decimal(12), 12))
    assert snapshots(reader_url, stream) == [(12, "test.tally@1"), (12, "test.tally@2")]
    async with EventStore(app_url, Codec([Tally]), options) as old:
        assert (await old.load(Tally, stream, tenant)).total == 12


async def test_state_without_a_json_form(
    app_url: str, reader_url: str, tenant: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """That a snapshot cannot be taken is logged; it fails neither the command that is stored nor a reader."""

    class Opaque(Aggregate):
        TOPIC = "test.opaque"
        seen: object = None

        class Seen(Aggregate.Event):
            TOPIC = "test.opaque.seen"

        def see(self) -> "Opaque":
            self._seen()
            return self

        @event(Seen)
        def _seen(self) -> None:
            self.seen = object()

    options = StoreOptions(snapshot_every_events=2)
    tally = Opaque.blank(uuid4()).see().see().see()
    async with EventStore(app_url, Codec([Opaque]), options) as store:
        receipt = await store.append(
            tenant=tenant,
            changed=[tally],
            reads=[],
            idempotency_key="k",
            request_hash=b"",
            answer={},
            metadata={},
        )
        assert receipt.outcome == "appended"
        assert (await store.load(Opaque, tally.id, tenant)).version == 3
    assert "no snapshot" in caplog.text
    assert snapshots(reader_url, tally.id) == []


@in_place_of(Tally)
class Renamed(Aggregate):
    """The tally after two changes of `added`: the note became a text, then the amount got a currency."""

    TOPIC = "test.tally_renamed"
    total: Decimal = Decimal(0)
    notes: tuple[str, ...] = ()

    class Added(Aggregate.Event):
        TOPIC = "test.tally_renamed.added"
        SCHEMA_VERSION = 3
        amount: Decimal
        currency: str
        text: str

    @event(Added)
    def _added_in(self, amount: Decimal, currency: str, text: str) -> None:
        self.total += amount
        self.notes = (*self.notes, f"{currency} {text}")


def upcasts(*steps: int) -> Upcasts:
    """The steps from version 1 to 3, or some of them."""
    known = Upcasts()

    def note_became_text(data: dict[str, Any]) -> dict[str, Any]:
        return {"amount": data["amount"], "text": data["note"]}

    def currency_added(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "currency": "EUR"}

    for from_version, step in ((1, note_became_text), (2, currency_added)):
        if from_version in steps:
            known.of(Tally.Added.TOPIC, from_version)(step)
    return known


def write_as_today(url: str, tenant: UUID, stream: UUID, version: int) -> None:
    """Append what the newest program would: an event in version 3."""
    added = new_event(
        stream,
        version,
        data=b'{"amount":"2","currency":"USD","text":"new"}',
        stream_type=Tally.TOPIC,
        event_type=Tally.Added.TOPIC,
        schema_version=3,
    )
    with psycopg.connect(url, autocommit=True) as application:
        check = Check(stream, Tally.TOPIC, version - 1)
        assert call(application, new_request(tenant, added, checks=[check]))[0].outcome == "appended"


class TestUpcasters:
    """Old events read as if they had been written today; stored events never change."""

    async def test_old_and_new_events_in_one_stream(
        self, store: EventStore, app_url: str, reader_url: str, tenant: UUID
    ) -> None:
        """A stream begun in version 1 goes on in version 3; both kinds are read, and the old bytes are as
        they were.
        """
        tally = blank().add(Decimal("1.50"), "old")
        await append(store, tenant, tally)
        async with EventStore(app_url, Codec([Renamed], upcasts(1, 2)), NEVER) as today:
            assert (await today.load(Renamed, tally.id, tenant)).notes == ("EUR old",)
            write_as_today(app_url, tenant, tally.id, 2)
            loaded = await today.load_current(Renamed, tally.id, tenant)
        assert (loaded.total, loaded.notes) == (Decimal("3.50"), ("EUR old", "USD new"))
        with psycopg.connect(reader_url) as reader:
            rows = reader.execute(
                "SELECT schema_version, data FROM erp.events WHERE stream_id = %s ORDER BY version",
                [tally.id],
            ).fetchall()
        assert rows[0] == (1, b'{"amount":"1.50","note":"old"}')
        assert rows[1][0] == 3

    @pytest.mark.parametrize("steps", [(), (1,), (2,)])
    async def test_missing_step(
        self, store: EventStore, app_url: str, tenant: UUID, steps: tuple[int, ...]
    ) -> None:
        """When a step is missing the aggregate cannot be loaded, which is better than loaded wrong."""
        tally = blank().add()
        await append(store, tenant, tally)
        async with EventStore(app_url, Codec([Renamed], upcasts(*steps)), NEVER) as today:
            with pytest.raises(NoUpcast, match=r"test\.tally\.added"):
                await today.load(Renamed, tally.id, tenant)

    async def test_event_newer_than_the_code(self, store: EventStore, app_url: str, tenant: UUID) -> None:
        """Old code does not guess at what newer code wrote."""
        stream = uuid4()
        write_as_today(app_url, tenant, stream, 1)
        with pytest.raises(NoUpcast, match="knows 1 at most"):
            await store.load(Tally, stream, tenant)

    async def test_event_that_nobody_declares(self, store: EventStore, app_url: str, tenant: UUID) -> None:
        """An event type that the code does not know stops the load."""

        @in_place_of(Tally)
        class Other(Aggregate):
            TOPIC = "test.tally_without_events"

        tally = blank().add()
        await append(store, tenant, tally)
        async with EventStore(app_url, Codec([Other]), NEVER) as stranger:
            with pytest.raises(UnknownEvent, match=r"test\.tally\.added"):
                await stranger.load(Other, tally.id, tenant)

    def test_two_steps_from_one_version(self) -> None:
        """Of two upcasters for the same step one is a mistake."""
        known = upcasts(1)
        with pytest.raises(ValueError, match="already"):
            known.of(Tally.Added.TOPIC, 1)(dict)

    def test_two_classes_of_one_name(self) -> None:
        """A name in the log belongs to one event class."""
        with pytest.raises(ValueError, match="two event classes"):
            Codec([Tally, Renamed])
