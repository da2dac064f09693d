"""What a process keeps in memory: aggregates within a bound of bytes, and turns on streams that are asked
for.
"""

import asyncio
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.cache import OVERHEAD_BYTES, AggregateCache
from eventstore.codec import Codec
from eventstore.queues import StreamQueues
from eventstore.store import EventStore, StoreOptions
from tests.eventstore.tally import Tally, append, blank

TENANT, OTHER = uuid4(), uuid4()
STREAMS = [UUID(int=n) for n in range(1, 7)]


def at_version(stream: UUID, version: int) -> Tally:
    tally = Tally.blank(stream)
    tally.version = version
    return tally


class TestCache:
    """The cache of aggregates."""

    def test_least_recently_used_goes_first(self) -> None:
        """When there is no room, those go that were not asked for the longest."""
        cache = AggregateCache(bytes_max=3 * (OVERHEAD_BYTES + 10))
        for stream in STREAMS[:3]:
            cache.put(TENANT, at_version(stream, 1), 10)
        assert cache.get(TENANT, STREAMS[0]) is not None
        cache.put(TENANT, at_version(STREAMS[3], 1), 10)
        assert [cache.get(TENANT, stream) is not None for stream in STREAMS[:4]] == [True, False, True, True]

    def test_later_version_stays(self) -> None:
        """A slow reader does not replace what is newer than what he has read."""
        cache = AggregateCache(10**6)
        for version in (2, 1, 3, 2):
            cache.put(TENANT, at_version(STREAMS[0], version), 10)
        kept = cache.get(TENANT, STREAMS[0])
        assert kept is not None
        assert kept.aggregate.version == 3
        assert cache.size_bytes == OVERHEAD_BYTES + 10

    def test_tenants_are_apart(self) -> None:
        """What one tenant has cached another does not get."""
        cache = AggregateCache(10**6)
        cache.put(TENANT, at_version(STREAMS[0], 1), 10)
        assert cache.get(OTHER, STREAMS[0]) is None
        cache.drop(OTHER, STREAMS[0])
        assert cache.get(TENANT, STREAMS[0]) is not None

    def test_what_is_too_large_is_not_kept(self) -> None:
        """An aggregate larger than the whole cache is not kept."""
        cache = AggregateCache(10_000)
        cache.put(TENANT, at_version(STREAMS[0], 1), 20_000)
        assert (len(cache), cache.size_bytes) == (0, 0)

    @settings(max_examples=200)
    @given(
        steps=st.lists(
            st.tuples(
                st.sampled_from(["put", "get", "drop"]),
                st.sampled_from([TENANT, OTHER]),
                st.sampled_from(STREAMS),
                st.integers(0, 3),
                st.integers(0, 5000),
            ),
            max_size=60,
        )
    )
    def test_books_are_right(self, steps: list[tuple[str, UUID, UUID, int, int]]) -> None:
        """Whatever happens, the bound holds, sizes add up, and an empty cache costs nothing."""
        cache = AggregateCache(bytes_max=4 * OVERHEAD_BYTES + 4000)
        for step, tenant, stream, version, json_bytes in steps:
            if step == "put":
                cache.put(tenant, at_version(stream, version), json_bytes)
            elif step == "get":
                cache.get(tenant, stream)
            else:
                cache.drop(tenant, stream)
            entries = [cache.get(t, s) for t in (TENANT, OTHER) for s in STREAMS]
            sizes = [entry.json_bytes + OVERHEAD_BYTES for entry in entries if entry is not None]
            assert (len(cache), cache.size_bytes) == (len(sizes), sum(sizes))
            assert cache.size_bytes <= 4 * OVERHEAD_BYTES + 4000
        for tenant in (TENANT, OTHER):
            for stream in STREAMS:
                cache.drop(tenant, stream)
        assert (len(cache), cache.size_bytes) == (0, 0)

    @pytest.mark.integration
    async def test_bound_holds_when_aggregates_outgrow_it(self, app_url: str, tenant: UUID) -> None:
        """An aggregate that was squeezed out while it was worked on does not come back as a small one."""
        options = StoreOptions(cache_bytes_max=60_000, snapshot_every_events=10**6)
        async with EventStore(app_url, Codec([Tally]), options) as store:
            tallies = [blank().add(note="x" * 20_000) for _ in range(6)]
            for tally in tallies:
                await append(store, tenant, tally)
            # All are being worked on before the first is stored.
            copies = [(await store.load(Tally, tally.id, tenant)).editable_copy().add() for tally in tallies]
            for copy in copies:
                await append(store, tenant, copy)
            kept = [tally for tally in tallies if store._cache.get(tenant, tally.id) is not None]
        assert 20_000 * len(kept) <= options.cache_bytes_max


class TestQueues:
    """Turns on streams."""

    async def test_one_at_a_time_in_order_of_arrival(self) -> None:
        """Who comes first is served first, and alone."""
        queues, served, inside = StreamQueues(), [], 0

        async def work(n: int) -> None:
            nonlocal inside
            async with queues.turn(STREAMS[0]):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                served.append(n)
                inside -= 1

        await asyncio.gather(*(work(n) for n in range(20)))
        assert served == list(range(20))
        assert len(queues) == 0

    async def test_other_streams_do_not_wait(self) -> None:
        """A turn on one stream holds up no other."""
        queues = StreamQueues()
        async with queues.turn(STREAMS[0]), asyncio.timeout(1), queues.turn(STREAMS[1]):
            assert len(queues) == 2

    async def test_opposite_orders_do_not_deadlock(self) -> None:
        """Several streams are taken in the order of their ids, whatever order they were asked for in."""
        queues, done = StreamQueues(), 0

        async def work(n: int) -> None:
            nonlocal done
            streams = [STREAMS[n % 4], STREAMS[(n * 3 + 1) % 4], STREAMS[(n + 2) % 4]]
            async with queues.turn(*streams[:: 1 if n % 2 else -1]):
                await asyncio.sleep(0)
                done += 1

        async with asyncio.timeout(5):
            await asyncio.gather(*(work(n) for n in range(60)))
        assert done == 60
        assert len(queues) == 0

    async def test_same_stream_asked_for_twice(self) -> None:
        """A command that names a stream twice does not wait for itself."""
        queues = StreamQueues()
        async with asyncio.timeout(1), queues.turn(STREAMS[0], STREAMS[1], STREAMS[0]):
            assert len(queues) == 2
        assert len(queues) == 0

    async def test_who_gives_up_is_passed_over(self) -> None:
        """Cancelled in the queue, or in the turn: the next one is served, and nothing is left behind."""
        queues, served = StreamQueues(), []

        async def work(n: int) -> None:
            async with queues.turn(STREAMS[1], STREAMS[0]):
                served.append(n)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(work(n)) for n in range(5)]
        await asyncio.sleep(0.005)
        for n in (0, 1, 3):
            tasks[n].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert served == [0, 2, 4]
        assert len(queues) == 0

    async def test_failing_holder_lets_go(self) -> None:
        """An error inside a turn ends it."""
        queues = StreamQueues()
        with pytest.raises(ZeroDivisionError):
            async with queues.turn(*STREAMS):
                _ = 1 / 0
        assert len(queues) == 0
        async with asyncio.timeout(1), queues.turn(*STREAMS):
            pass
