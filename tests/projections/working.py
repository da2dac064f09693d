"""A worker in a process of its own, to be killed:

    python -m tests.projections.working <owner's url> <ClickHouse's url> <broker's home or address> [deaf]

Its projector only makes the tables, so that what is in the log copy came by Kafka. The first stream of
a deaf one is given partitions, looks well and takes nothing.
"""

import asyncio
import logging
import signal
import sys
from typing import Any

import uvloop

from erp.embedded.address import with_user
from eventstore.packing import topic_of
from eventstore.streaming import Stream, StreamOptions
from projections import log_copy
from projections.clickhouse import ClickHouse, ReadSideDown
from projections.ingest import Ingest
from projections.projector import Projector
from projections.worker import Worker
from tests.eventstore.requests import STREAM_TYPE
from tests.eventstore.tally import Tally
from tests.kafka.reaching import reach
from tests.projections.world import CODEC

SILENCE_S = 4.0


class TableMaker(Projector):
    """In the place of the projector: it fetches nothing from the store."""

    async def run(self) -> None:
        """Make the tables as soon as ClickHouse is there, and stay."""
        while not self._stop.is_set():
            try:
                await log_copy.prepare(self._clickhouse)
                await self._stop.wait()
            except ReadSideDown:
                await asyncio.sleep(0.1)


def new_worker(owner_url: str, clickhouse_url: str, broker: str) -> Worker:
    """A worker of the topics of tests, to be made in the loop that it will run in."""
    url = with_user(owner_url, "erp_worker")
    clickhouse = ClickHouse(lambda: clickhouse_url)
    projector = TableMaker(url, clickhouse, CODEC, ())

    topics = [topic_of("erp", STREAM_TYPE), topic_of("erp", Tally.TOPIC)]
    return Worker(
        url,
        *reach(broker, StreamOptions("test-read", topics, silence_s=SILENCE_S)),
        clickhouse=clickhouse,
        ingest=Ingest(url, clickhouse, CODEC, watermark=lambda: 0, written=lambda _: None),
        projector=projector,
    )


def make_deaf() -> None:
    """The first stream of this process takes nothing."""

    async def take_nothing(_: Stream, __: Any) -> None:
        Stream._consume = takes  # type: ignore[method-assign]
        await asyncio.Event().wait()

    takes = Stream._consume
    Stream._consume = take_nothing  # type: ignore[method-assign,assignment]


async def main(owner_url: str, clickhouse_url: str, where: str, *how: str) -> None:
    if "deaf" in how:
        make_deaf()
    made = new_worker(owner_url, clickhouse_url, where)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, made.stop)
    await made.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for library in ("aiokafka", "faust", "mode"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    uvloop.run(main(*sys.argv[1:]))
