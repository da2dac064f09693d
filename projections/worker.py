"""The worker of the read side: ingest, by Faust, and the projector beside it.

Promises: those of `eventstore.consumer`. Without Kafka the projector goes on from Postgres.
"""

import asyncio
from typing import Final

from eventstore.consumer import Consumer, Hung
from eventstore.publisher import KafkaOptions
from eventstore.streaming import StreamOptions
from projections.clickhouse import ClickHouse
from projections.ingest import Ingest
from projections.projector import Projector

_STOP_TIMEOUT_S: Final = 30.0


class Worker:
    """One process of the read role.

    Args:
        worker_url: Postgres, as erp_worker.
        clickhouse: the client that ingest and projector share, closed at the end.
    """

    def __init__(
        self,
        worker_url: str,
        kafka: KafkaOptions,
        stream: StreamOptions,
        *,
        clickhouse: ClickHouse,
        ingest: Ingest,
        projector: Projector,
    ) -> None:
        self.stream = stream
        self._clickhouse = clickhouse
        self.ingest = ingest
        self.projector = projector
        self._consumer = Consumer(worker_url, kafka, stream, ingest)
        self.status = self._consumer.status

    def stop(self) -> None:
        """Ask it to end: what is being written is finished, the rest stays in Kafka."""
        self._consumer.stop()
        self.ingest.stop()
        self.projector.stop()

    async def run(self) -> None:
        """Work until told to stop.

        Raises:
            Refusal: a person must decide.
            Hung: end the process.
        """
        async with self._clickhouse, self.ingest:
            tasks = [asyncio.create_task(each) for each in (self.projector.run(), self._consumer.run())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.stop()
                await asyncio.wait(tasks, timeout=_STOP_TIMEOUT_S)
        for task in tasks:
            if not task.done():
                raise Hung("the projector does not end")
            task.result()
