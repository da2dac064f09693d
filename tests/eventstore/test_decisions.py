"""Promises 4, 6 and 7: decisions hold at commit, numbers have no gaps, a command happens once."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.codec import Codec
from eventstore.request import Check
from eventstore.store import EventStore, RegisterEntry
from tests.eventstore.conftest import MakeTenant
from tests.eventstore.requests import STREAM_TYPE, call, new_event, new_request, one_event
from tests.eventstore.tally import Tally, append, blank

pytestmark = pytest.mark.integration


class TestReads:
    """Promise 4: what a decision was made on is still so when it is stored."""

    async def test_stream_that_was_read_moved_on(self, store: EventStore, tenant: UUID) -> None:
        """An append whose read stream has changed since stores nothing."""
        period = blank().add()
        await append(store, tenant, period)
        as_read = await store.load(Tally, period.id, tenant)
        await append(store, tenant, as_read.editable_copy().add())
        entry = blank().add()
        assert (await append(store, tenant, entry, reads=(as_read,))).outcome == "conflict"
        assert not (await store.load_current(Tally, entry.id, tenant)).exists
        now = await store.load(Tally, period.id, tenant)
        assert now.version == 2
        assert (await append(store, tenant, entry.editable_copy().add(), reads=(now,))).outcome == "conflict"
        assert (await append(store, tenant, blank().add(), reads=(now,))).outcome == "appended"

    async def test_stream_that_was_read_as_absent_came_up(self, store: EventStore, tenant: UUID) -> None:
        """That something was not there is a decision too: version 0 is checked like any other."""
        child = blank()
        entry = blank().add()
        assert (await append(store, tenant, entry, reads=(child,))).outcome == "appended"
        await append(store, tenant, child.editable_copy().add())
        assert (
            await append(store, tenant, entry.editable_copy().add(), reads=(child,))
        ).outcome == "conflict"

    @pytest.mark.parametrize("version", [-1, 0, 1, 3, 2**62])
    def test_any_other_version_conflicts(self, app_url: str, tenant: UUID, version: int) -> None:
        """Only the version that the stream has will do, neither an earlier nor a later one."""
        stream = uuid4()
        with psycopg.connect(app_url, autocommit=True) as application:
            call(application, new_request(tenant, new_event(stream, 1), new_event(stream, 2)))
            reads = [Check(stream, STREAM_TYPE, version)]
            (receipt,) = call(application, new_request(tenant, new_event(uuid4(), 1), reads=reads))
            assert receipt.outcome == "conflict"
            (receipt,) = call(application, new_request(tenant, new_event(stream, 3), checks=reads))
            assert receipt.outcome == "conflict"

    def test_stream_of_another_type_conflicts(self, app_url: str, tenant: UUID) -> None:
        """A stream read as what it is not is not the stream that was decided on."""
        stream = uuid4()
        with psycopg.connect(app_url, autocommit=True) as application:
            call(application, new_request(tenant, new_event(stream, 1)))
            reads = [Check(stream, "test.other", 1)]
            (receipt,) = call(application, new_request(tenant, new_event(uuid4(), 1), reads=reads))
        assert receipt.outcome == "conflict"

    async def test_closing_beats_every_posting_after_it(self, app_url: str, tenant: UUID) -> None:
        """While entries are posted from two stores, a period closes: nobody posts on its earlier version
        after that.
        """
        period = blank().add()
        posted_before = asyncio.Event()
        async with EventStore(app_url, Codec([Tally])) as one, EventStore(app_url, Codec([Tally])) as other:
            await append(one, tenant, period)

            async def post(store: EventStore) -> tuple[int, int] | None:
                seen = await store.load(Tally, period.id, tenant)
                receipt = await append(store, tenant, blank().add(), reads=(seen,))
                posted_before.set()
                return (receipt.position, seen.version) if receipt.outcome == "appended" else None

            async def close() -> int:
                await posted_before.wait()
                closed = (await one.load_current(Tally, period.id, tenant)).editable_copy().add()
                while (receipt := await append(one, tenant, closed)).outcome != "appended":
                    closed = (await one.load_current(Tally, period.id, tenant)).editable_copy().add()
                return receipt.position

            async def keep_posting(store: EventStore) -> list[tuple[int, int] | None]:
                return [await post(store) for _ in range(40)]

            closing = asyncio.create_task(close())
            posted = await asyncio.gather(*(keep_posting(store) for store in (one, other) * 4))
            closed_at = await closing
        entries = [entry for one_writer in posted for entry in one_writer if entry is not None]
        assert {version for position, version in entries if position > closed_at} == {2}
        assert {version for position, version in entries if position < closed_at} == {1}


class TestNumbers:
    """Promise 6: document numbers have no gaps, per tenant and series."""

    async def test_gapless_under_concurrency(
        self, app_url: str, reader_url: str, make_tenant: MakeTenant
    ) -> None:
        """Two stores number two series of two tenants, and every third command fails: none of these takes
        a number.
        """
        tenants = make_tenant(), make_tenant()
        async with EventStore(app_url, Codec([Tally])) as one, EventStore(app_url, Codec([Tally])) as other:
            taken = {tenant: blank().add() for tenant in tenants}
            for tenant, tally in taken.items():
                await append(one, tenant, tally)

            async def post(n: int) -> str:
                tenant, series = tenants[n % 2], f"general/202{n // 2 % 2}"
                store = (one, other)[n % 5 % 2]
                # Of six, one decides on what is no longer true, and one asks for what Postgres refuses.
                reads = (Tally.blank(taken[tenant].id),) if n % 6 == 0 else ()
                others = (blank().take_number("\0"),) if n % 6 == 3 else ()
                entry = blank().take_number(series)
                try:
                    return (await append(store, tenant, entry, *others, reads=reads)).outcome
                except psycopg.DataError:
                    return "refused"

            outcomes = Counter(await asyncio.gather(*(post(n) for n in range(300))))
        assert outcomes == {"appended": 200, "conflict": 50, "refused": 50}
        with psycopg.connect(reader_url) as reader:
            rows = reader.execute(
                """SELECT tenant, series, array_agg(number ORDER BY position) FROM erp.events
                    WHERE tenant = ANY (%s) AND series IS NOT NULL GROUP BY 1, 2""",
                [list(tenants)],
            ).fetchall()
        assert len(rows) == 4
        assert all(numbers == list(range(1, len(numbers) + 1)) for _, _, numbers in rows)
        assert sum(len(numbers) for _, _, numbers in rows) == 200

    async def test_several_numbers_in_one_command(self, store: EventStore, tenant: UUID) -> None:
        """A command may take several numbers, of one series and of several; the aggregates show them."""
        one, two = blank().take_number("a").take_number("a").take_number("b"), blank().take_number("a")
        await append(store, tenant, one, two)
        assert (await store.load(Tally, two.id, tenant)).number == 3
        assert (await store.load(Tally, one.id, tenant)).number == 1
        assert await store.register_page(tenant, "a", 0, 10) == [
            RegisterEntry(1, one.id),
            RegisterEntry(2, one.id),
            RegisterEntry(3, two.id),
        ]
        assert await store.register_page(tenant, "a", 1, 1) == [RegisterEntry(2, one.id)]
        assert await store.register_page(tenant, "unheard of", 0, 10) == []


class TestIdempotency:
    """Promise 7: a command under a key happens once, and its answer stays."""

    async def test_repetition_is_answered_as_before(
        self, store: EventStore, app_url: str, tenant: UUID
    ) -> None:
        """The same key and request again, in this process and after a restart: the first answer, and no
        event.
        """
        tally = blank().add()
        first = await append(store, tenant, tally, key="k")
        assert first.outcome == "appended"
        async with EventStore(app_url, Codec([Tally])) as restarted:
            for again in (store, restarted, restarted):
                found = await again.find(tenant, "k", b"request")
                repeated = await append(again, tenant, blank().add().add(), key="k")
                assert found == repeated
                assert repeated.outcome == "replayed"
                assert (repeated.position, repeated.recorded_at) == (first.position, first.recorded_at)
                assert repeated.answer == first.answer == {"id": str(tally.id), "version": 1}
            assert (await restarted.load(Tally, tally.id, tenant)).version == 1

    async def test_key_with_another_request(self, store: EventStore, tenant: UUID) -> None:
        """A key that belongs to another request is refused, and says nothing of the other's answer."""
        await append(store, tenant, blank().add(), key="k")
        tally = blank().add()
        receipt = await append(store, tenant, tally, key="k", request_hash=b"another")
        assert receipt.outcome == "key_reused"
        found = await store.find(tenant, "k", b"another")
        assert found is not None
        assert found.outcome == "key_reused"
        assert not (await store.load_current(Tally, tally.id, tenant)).exists

    async def test_keys_of_tenants_are_their_own(self, store: EventStore, make_tenant: MakeTenant) -> None:
        """The same key of two tenants is two keys."""
        for tenant in (make_tenant(), make_tenant()):
            assert await store.find(tenant, "k", b"request") is None
            assert (await append(store, tenant, blank().add(), key="k")).outcome == "appended"

    async def test_failures_leave_no_key(self, store: EventStore, tenant: UUID) -> None:
        """A conflict and an error are not kept: the same key may be used for a new attempt."""
        stream = blank()
        await append(store, tenant, stream.editable_copy().add())
        assert (await append(store, tenant, stream.editable_copy().add(), key="k")).outcome == "conflict"
        with pytest.raises(psycopg.DataError):
            await append(store, tenant, blank().take_number("\0"), key="k")
        assert await store.find(tenant, "k", b"request") is None
        assert (await append(store, tenant, blank().add(), key="k")).outcome == "appended"

    async def test_key_goes_before_conflict(self, store: EventStore, tenant: UUID) -> None:
        """A repeated command is answered as before although its streams have moved on by now."""
        tally = blank()
        first = tally.editable_copy().add()
        await append(store, tenant, first, key="k")
        await append(store, tenant, first.editable_copy().add())
        repeated = await append(store, tenant, tally.editable_copy().add(), key="k")
        assert repeated.outcome == "replayed"

    async def test_same_key_from_everywhere_at_once(
        self, app_url: str, reader_url: str, tenant: UUID
    ) -> None:
        """Two stores get the same command many times at the same moment: it happens once, and all are
        told the same.
        """
        async with EventStore(app_url, Codec([Tally])) as one, EventStore(app_url, Codec([Tally])) as other:
            receipts = await asyncio.gather(
                *(append((one, other)[n % 2], tenant, blank().add(), key="k") for n in range(40))
            )
        assert Counter(receipt.outcome for receipt in receipts) == {"appended": 1, "replayed": 39}
        told: list[dict[str, Any]] = [dict(receipt.answer) for receipt in receipts]
        assert all(answer["id"] == told[0]["id"] for answer in told)
        assert len({(receipt.position, receipt.recorded_at) for receipt in receipts}) == 1
        with psycopg.connect(reader_url) as reader:
            rows = reader.execute("SELECT stream_id FROM erp.events WHERE tenant = %s", [tenant]).fetchall()
        assert [str(row[0]) for row in rows] == [told[0]["id"]]

    def test_answer_is_kept_with_the_events(self, app_url: str, tenant: UUID) -> None:
        """When the transaction does not come about, there is neither event nor key."""
        request = one_event(tenant, key="k")
        with psycopg.connect(app_url) as application:
            assert call(application, request)[0].outcome == "appended"
            application.rollback()
            assert call(application, request)[0].outcome == "appended"
            application.commit()
            assert call(application, request)[0].outcome == "replayed"
