"""A relay under test, and what is done around it. In a process of its own, to be killed:

    python -m tests.eventstore.relaying <owner's url> <host:port of the broker>

says `active` when it is.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid4

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from erp.embedded.address import with_user
from eventstore.packing import Packing
from eventstore.publisher import KafkaOptions
from eventstore.relay import Relay, RelayOptions
from eventstore.tree_head import HeadSigner
from tests.eventstore.requests import STREAM_TYPE, call, new_event, new_request
from tests.eventstore.stream import PARTITIONS
from tests.eventstore.tally import Tally
from tests.waiting import eventually

SIGNER = HeadSigner("test", Ed25519PrivateKey.generate())


class Reachable(Protocol):
    """A broker, as far as a relay is concerned."""

    @property
    def bootstrap(self) -> str: ...


class At(NamedTuple):
    """One that somebody else runs."""

    bootstrap: str


def new_relay(
    owner_url: str,
    broker: Reachable | KafkaOptions,
    packing: Packing = Packing(partitions=PARTITIONS),  # noqa: B008 - immutable
    **options: Any,
) -> Relay:
    """A relay with small pages, so that there are many of them."""
    kafka = (
        broker
        if isinstance(broker, KafkaOptions)
        else KafkaOptions(bootstrap=lambda: broker.bootstrap, compression="lz4")
    )
    return Relay(
        with_user(owner_url, "erp_relay"),
        kafka,
        signer=SIGNER,
        packing=packing,
        options=RelayOptions(page_events_max=50, head_s=0.2)._replace(**options),
        stream_types=[STREAM_TYPE, Tally.TOPIC],
    )


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    """The relay, until the block ends; what it raises is raised."""
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await asyncio.wait_for(task, 20)


def append(owner_url: str, tenant: UUID, streams: int, events: int, data: bytes = b"{}") -> int:
    """So many events on each of so many streams; the last position of the log."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for stream in [uuid4() for _ in range(streams)]:
            made = [new_event(stream, version, data=data) for version in range(1, events + 1)]
            call(connection, new_request(tenant, *made))
        return last(connection)


def last(connection: "psycopg.Connection[tuple[int]]") -> int:
    row = connection.execute("SELECT coalesce(max(position), 0) FROM erp.events").fetchone()
    assert row is not None
    return row[0]


def checkpoint(owner_url: str) -> int:
    with psycopg.connect(owner_url) as connection:
        row = connection.execute("SELECT position FROM erp.relay").fetchone()
    assert row is not None
    return int(row[0])


async def published(relay: Relay, position: int) -> None:
    """Wait until everything up to it is in Kafka, as the relay says."""
    await eventually(lambda: relay.status.position == position)


async def main(owner_url: str, bootstrap: str) -> None:
    relay = new_relay(owner_url, At(bootstrap))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, relay.stop)

    async def tell() -> None:
        while not relay.status.active:
            await asyncio.sleep(0.01)
        print("active", flush=True)  # noqa: T201

    await asyncio.gather(relay.run(), tell())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
