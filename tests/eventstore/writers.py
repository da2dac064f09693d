"""Writers for the test of the log's order, in as many ways as there are into the store.

    python -m tests.eventstore.writers <url> <tenant> <appends>

runs a store in a process of its own.
"""

import asyncio
import sys
from uuid import UUID, uuid4

from eventsourcing.persistence import StoredEvent

from eventstore.codec import Codec
from eventstore.recorder import TenantRecorder, connection_pool
from eventstore.store import EventStore
from tests.eventstore.tally import Tally, append, blank

COROUTINES = 6


async def write_by_store(url: str, tenant: UUID, appends: int) -> None:
    """Append through an asynchronous store, from several coroutines, with numbers and streams that grow."""

    async def write(store: EventStore, count: int) -> None:
        tally = blank()
        for n in range(count):
            changed = tally.editable_copy() if n % 3 else blank()
            changed.add().add()
            if n % 4 == 0:
                changed.take_number("shared")
            receipt = await append(store, tenant, changed)
            assert receipt.outcome == "appended"
            tally = changed

    async with EventStore(url, Codec([Tally])) as store:
        await asyncio.gather(*(write(store, appends // COROUTINES) for _ in range(COROUTINES)))


def write_by_recorder(url: str, tenant: UUID, appends: int) -> None:
    """Append through a synchronous recorder."""
    with connection_pool(url, size_max=1) as pool:
        recorder = TenantRecorder(pool, tenant)
        for _ in range(appends):
            stream = uuid4()
            recorder.insert_events([StoredEvent(stream, version, "t", b"") for version in (1, 2)])


if __name__ == "__main__":
    asyncio.run(write_by_store(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3])))
