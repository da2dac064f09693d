"""The consumer of a worker: one after the other, for as long as the worker runs.

Promises: workers of one group share the partitions, and what one of them had when it died is taken up by the
rest. Kafka is tried again until it is there. A consumer that crashed, or looks alive and does nothing, is
replaced by a new one; one that cannot even be ended takes the worker with it (`Hung`), for whoever watches it
to start another.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from eventstore.intake import Intake
from eventstore.one_line import one_line
from eventstore.pause import pause
from eventstore.publisher import KafkaOptions
from eventstore.streaming import NoKafka, Stream, StreamOptions, end_leftovers, require_kafka

log = logging.getLogger(__name__)

_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_GONE: Final = "Kafka is gone"
_LOOK_EVERY_S: Final = 0.2
_LISTEN_EVERY_S: Final = 1.0
_WELL_AFTER_S: Final = 10.0
_PATIENCE_MAX: Final = 8
_STOP_TIMEOUT_S: Final = 15.0
_CONNECTION: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 3,
    "application_name": "erp worker (watch)",
    "options": "-c statement_timeout=10s",
}


class Hung(Exception):
    """Something in this process does not end; only the end of the process ends it."""


class _Over(Exception):
    """This consumer is of no more use."""


@dataclass
class ConsumerStatus:
    """How it is doing, for metrics."""

    kafka_connected: bool = False
    partitions: int = 0
    """Assigned to this worker."""
    streams: int = 0
    """Consumers that were started, one after the other."""
    published: int = 0
    """The position up to which the relay has published, as far as it was looked at."""


class Consumer:
    """A member of a consumer group.

    Args:
        url: Postgres, as a role that may ask how far the relay is.
        intake: is given the messages.
    """

    def __init__(self, url: str, kafka: KafkaOptions, options: StreamOptions, intake: Intake) -> None:
        self._url = url
        self._kafka = kafka
        self._options = options
        self._intake = intake
        self._patience = 1
        self._stop = asyncio.Event()
        self.status = ConsumerStatus()

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    async def run(self) -> None:
        """One consumer after the other, each until it is of no more use, until told to stop.

        Raises:
            Hung: end the process.
        """
        clock = asyncio.get_running_loop().time
        missing, failures = "", 0
        while not self._stop.is_set():
            began = clock()
            try:
                await require_kafka(self._kafka, self._options.topics)
                if missing:
                    log.info("Kafka is there")
                missing = ""
                await self._run_stream()
            except (NoKafka, OSError) as error:
                if missing not in {_GONE, one_line(error)}:
                    missing = one_line(error)
                    log.warning("Kafka: %s; trying again until it is there", missing)
                failures += 1
            except _Over as error:
                failures = 0 if clock() - began > _WELL_AFTER_S else failures + 1
                missing = _GONE if str(error) == _GONE else ""
                log.warning("%s", missing or f"consuming anew: {error}")
            await pause(self._stop, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])

    async def _run_stream(self) -> None:
        """One consumer, from its start to its end.

        Raises:
            _Over: take another.
            Hung: it does not end.
        """
        stream = Stream(self._kafka, self._options, self._intake.take)
        self.status.streams += 1
        starting = asyncio.create_task(stream.start())  # not awaited: it may never come to an end
        watching = [
            asyncio.create_task(each)
            for each in (self._stop.wait(), self._watch(stream, starting), self._listen(stream))
        ]
        try:
            done, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except _Over:
            stream.abandon()
            raise
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            self.status.kafka_connected, self.status.partitions = False, 0
            await _end(stream, starting)

    async def _watch(self, stream: Stream, starting: "asyncio.Task[None]") -> None:
        """Say how it is.

        Raises:
            _Over: it has crashed, or is where no broker is any more.
        """
        was_connected, had = False, 0
        while True:
            if stream.crashed:
                raise _Over(repr(stream.crash_reason))
            if starting.done() and (error := starting.exception()) is not None:
                raise _Over(one_line(error))
            if stream.has_lost_its_broker or (was_connected and not stream.is_connected):
                raise _Over(_GONE)
            if parked := stream.cure():
                log.warning("the consumer group goes on after %s", parked)
            if stream.assigned != had:
                log.info("has %s partitions of Kafka's topics", stream.assigned)
            was_connected, had = stream.is_connected, stream.assigned
            self.status.kafka_connected, self.status.partitions = was_connected, had
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _listen(self, stream: Stream) -> None:
        """End when the relay publishes, there is something for us, and nothing comes, whatever the reason.

        Raises:
            _Over: that is so.
        """
        while True:
            with suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(self._url, **_CONNECTION) as connection:
                    await self._compare(connection, stream)
            await asyncio.sleep(_LISTEN_EVERY_S)

    async def _compare(self, connection: "psycopg.AsyncConnection[Any]", stream: Stream) -> None:
        clock = asyncio.get_running_loop().time
        since, heard, published = clock(), self._intake.messages, -1
        while True:
            cursor = await connection.execute("SELECT position FROM erp.relay", prepare=True)
            ((self.status.published,),) = await cursor.fetchall()
            messages = self._intake.messages
            if messages != heard:
                self._patience = 1
            if self._intake.is_busy or messages != heard or self.status.published == published:
                since, heard, published = clock(), messages, self.status.published
            elif clock() - since > self._options.silence_s * self._patience:
                if await stream.waiting() != 0:
                    # A group may take longer to settle than we thought, and each new member unsettles it.
                    self._patience = min(2 * self._patience, _PATIENCE_MAX)
                    raise _Over("it brings nothing, and there is something to read")
                since, published = clock(), self.status.published
            await asyncio.sleep(_LISTEN_EVERY_S)


async def _end(stream: Stream, starting: "asyncio.Task[None]") -> None:
    """Stop it, if it can be stopped.

    Raises:
        Hung: it cannot.
    """
    ending = asyncio.create_task(stream.stop())
    done, _ = await asyncio.wait({ending}, timeout=_STOP_TIMEOUT_S)
    starting.cancel()
    if not done:
        raise Hung(f"the consumer does not end within {_STOP_TIMEOUT_S:g} s")
    await asyncio.gather(ending, starting, return_exceptions=True)
    await end_leftovers()
