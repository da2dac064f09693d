"""A relay in a process of its own, to be killed:

    python -m tests.eventstore.relaying <owner's url> <home of the broker>

says `active` when it is.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from erp.embedded.address import with_user
from erp.embedded.kafka import EmbeddedKafka
from eventstore.packing import Packing
from eventstore.publisher import KafkaOptions
from eventstore.relay import Relay, RelayOptions
from eventstore.tree_head import HeadSigner
from tests.eventstore.stream import PARTITIONS

SIGNER = HeadSigner("test", Ed25519PrivateKey.generate())


def new_relay(owner_url: str, broker: EmbeddedKafka, **options: Any) -> Relay:
    """A relay with small pages, so that there are many of them."""
    return Relay(
        with_user(owner_url, "erp_relay"),
        KafkaOptions(bootstrap=lambda: broker.bootstrap, compression="lz4"),
        signer=SIGNER,
        packing=Packing(partitions=PARTITIONS),
        options=RelayOptions(page_events_max=50, head_s=0.2)._replace(**options),
    )


async def main(owner_url: str, home: Path) -> None:
    relay = new_relay(owner_url, EmbeddedKafka(home))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, relay.stop)

    async def tell() -> None:
        while not relay.status.active:
            await asyncio.sleep(0.01)
        print("active", flush=True)  # noqa: T201

    await asyncio.gather(relay.run(), tell())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
