"""What is asked of one stream besides its state: its events, and where the last of them stands."""

from uuid import UUID

import pytest

from eventstore import store as module
from eventstore.store import EventStore
from tests.eventstore.tally import Tally, append, blank

pytestmark = pytest.mark.integration


async def test_history_is_every_event_up_to_the_version(
    store: EventStore, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, numbers included, over the ends of pages; what came later is left out."""
    monkeypatch.setattr(module, "_PAGE_EVENTS", 3)
    tally = blank()
    for _ in range(6):
        tally.add()
    await append(store, tenant, tally.take_number("s"))
    versions = [each.originator_version for each in await store.history(Tally, tally.id, tenant, 7)]
    assert versions == list(range(1, 8))
    *_, last = await store.history(Tally, tally.id, tenant, 7)
    assert isinstance(last, Tally.Numbered)
    assert (last.series, last.number) == ("s", 1)
    for up_to in (0, 2, 3, 5, 6):
        assert len(await store.history(Tally, tally.id, tenant, up_to)) == up_to
    assert len(await store.history(Tally, tally.id, tenant, 99)) == 7


async def test_the_place_is_that_of_the_last_recorded_event(store: EventStore, tenant: UUID) -> None:
    """Not that of one which waits to be recorded."""
    tally = blank().add().add()
    receipt = await append(store, tenant, tally)
    found = (await store.load(Tally, tally.id, tenant)).editable_copy().add()
    assert await store.place(found, tenant) == (receipt.position, receipt.recorded_at)
