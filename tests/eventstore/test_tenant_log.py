"""The log of one tenant, read from any place on; and one poll for all who wait."""

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.store import EventStore
from eventstore.watch import Watch
from tests.eventstore.conftest import MakeTenant
from tests.eventstore.requests import call, new_event, new_request

pytestmark = pytest.mark.integration


@pytest.fixture
def tenants(app_url: str, make_tenant: MakeTenant) -> tuple[UUID, UUID]:
    """Two tenants, whose twelve events each alternate in the log; every third is of another type."""
    one, other = make_tenant(), make_tenant()
    with psycopg.connect(app_url, autocommit=True) as application:
        for number in range(12):
            for tenant in (one, other):
                kind = "test.raw.other" if number % 3 == 2 else "test.raw.happened"
                data = b'"%b"' % (b"x" * 98)
                call(application, new_request(tenant, new_event(uuid4(), 1, event_type=kind, data=data)))
    return one, other


async def test_each_tenant_has_its_own_log(store: EventStore, tenants: tuple[UUID, UUID]) -> None:
    """Dense, in commit order, and with nothing of the other one's; a stranger has none."""
    one, other = tenants
    assert await store.tenant_heads([one, other, uuid4()]) == {one: 12, other: 12}
    for tenant in tenants:
        events = await store.tenant_events(tenant, 0, 12, types=None, bytes_max=1_000_000)
        assert [each.event.tenant_seq for each in events] == list(range(1, 13))
        assert {each.event.tenant for each in events} == {tenant}
        found = [each.event.position for each in events]
        assert found == sorted(found)
        assert found[-1] <= await store.head()


async def test_a_page_has_its_limits(store: EventStore, tenants: tuple[UUID, UUID]) -> None:
    """By place, by type, and by bytes: one event more than fits, so that there always is one."""
    one, _ = tenants

    async def seqs(after: int, up_to: int, types: list[str] | None, bytes_max: int) -> list[int]:
        events = await store.tenant_events(one, after, up_to, types=types, bytes_max=bytes_max)
        return [each.event.tenant_seq for each in events]

    assert await seqs(3, 7, None, 10_000) == [4, 5, 6, 7]
    assert await seqs(12, 20, None, 10_000) == []
    assert await seqs(0, 12, ["test.raw.other"], 10_000) == [3, 6, 9, 12]
    assert await seqs(0, 12, [], 10_000) == []
    assert await seqs(5, 12, None, 1) == [6]
    # 100 bytes of data and 18 of metadata each.
    assert await seqs(0, 12, None, 118 * 3) == [1, 2, 3]
    assert await seqs(0, 12, None, 118 * 3 + 1) == [1, 2, 3, 4]


async def test_a_position_has_its_place_in_each_log(store: EventStore, tenants: tuple[UUID, UUID]) -> None:
    """The tenant's last event at or before it, though the position itself is another tenant's."""
    one, other = tenants
    own = [each.event for each in await store.tenant_events(one, 0, 12, types=None, bytes_max=10_000)]
    for event in own:
        assert await store.tenant_seq_at(one, event.position) == event.tenant_seq
        assert await store.tenant_seq_at(one, event.position - 1) == event.tenant_seq - 1
        assert await store.tenant_seq_at(other, event.position) == event.tenant_seq - 1
    assert await store.tenant_seq_at(one, 0) == 0
    assert await store.tenant_seq_at(one, 2**62) == 12
    assert await store.tenant_seq_at(uuid4(), 2**62) == 0


async def test_a_watch_looks_once_for_all_and_rests_when_nobody_waits() -> None:
    """Who joins later waits for his own; what the look raises, everybody is told who waits then."""
    looks = 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        if looks == 5:
            raise ConnectionError
        return looks

    watch = Watch(look, every_s=0.001)
    waiting = [asyncio.create_task(watch.until(lambda seen: seen >= 3)) for _ in range(100)]
    assert await asyncio.gather(*waiting) == [3] * 100
    await asyncio.sleep(0.02)
    assert looks == 3
    assert await watch.until(lambda seen: seen >= 4) == 4
    both = [asyncio.create_task(watch.until(lambda _: False)) for _ in range(2)]
    told = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) for each in told] == [ConnectionError] * 2
    assert await watch.until(lambda seen: seen >= 7) == 7
