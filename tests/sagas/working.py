"""A saga worker in a process of its own, to be killed:

python -m tests.sagas.working <owner's url> <broker's home or address> [<late_s>]
"""

import asyncio
import logging
import signal
import sys

import uvloop

from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from eventstore.streaming import StreamOptions
from sagas.interests import Interests
from sagas.worker import SagaOptions, SagaWorker
from tests.kafka.reaching import reach
from tests.sagas.parcels import AGGREGATES, COMMANDS, Courier, new_bus
from tests.sagas.world import GROUP, PARTITIONS


def new_worker(owner_url: str, broker: str, late_s: float) -> SagaWorker:
    """To be made in the loop that it will run in."""
    interests = Interests([Courier], AGGREGATES, partitions=PARTITIONS)
    store = EventStore(with_user(owner_url, "erp_app"), Codec(AGGREGATES))
    stream = StreamOptions(GROUP, interests.topics, silence_s=4.0, within_s=0.005, fetch_wait_ms=15)
    return SagaWorker(
        with_user(owner_url, "erp_saga"),
        *reach(broker, stream),
        interests=interests,
        store=store,
        bus=new_bus(store),
        codec=Codec(AGGREGATES),
        commands=COMMANDS,
        aggregates=AGGREGATES,
        options=SagaOptions(wait_s=1.0, retry_s=0.5, late_s=late_s),
    )


async def main(owner_url: str, broker: str, late_s: str = "2.0") -> None:
    made = new_worker(owner_url, broker, float(late_s))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, made.stop)

    async def tell() -> None:
        while True:
            await asyncio.sleep(0.1)
            if made.consuming.partitions:
                print("consumes", flush=True)  # noqa: T201
                return

    telling = asyncio.create_task(tell())
    await made.run()
    telling.cancel()
    status = made.status
    print(f"healed {status.healed} refilled {status.refilled} heard {status.heard}", flush=True)  # noqa: T201


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for library in ("aiokafka", "faust", "mode"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    uvloop.run(main(*sys.argv[1:]))
