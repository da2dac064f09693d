"""Faust, as far as the workers need it: one consumer group, whose messages are handed over in batches and
acknowledged when they are dealt with. Which settings are relied on, and why: docs/explanation/worker.md.

What Faust does by itself and must not here: make topics, connect a producer, write folders, take over signals
and logging, serve a web page, wait 1.5 s for a fetch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.contrib.asgi import bind_to_running_loop
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.threads import WorkerThread
from yarl import URL

from eventstore.one_line import one_line
from eventstore.publisher import KafkaOptions

log = logging.getLogger(__name__)

# What Faust says, under our classes' names too.
_faust_log = logging.getLogger("faust.erp")

Take = Callable[[Sequence[bytes | None]], Awaitable[bool]]

CLIENT_ID: Final = "erp-worker"

_BATCH_MESSAGES: Final = 50
_BUFFER_MESSAGES: Final = 256
_COMMIT_S: Final = 1.0
_ANSWER_TIMEOUT_S: Final = 3.0
_COMMIT_TIMEOUT_S: Final = 2.0
_DAY_S: Final = 86_400


class StreamOptions(NamedTuple):
    """What a group consumes, and how. Units last in the names."""

    group: str
    topics: Sequence[str]
    session_timeout_s: float = 6.0
    silence_s: float = 15.0
    """So long a consumer may bring nothing although the relay publishes; then another takes its place."""
    within_s: float = 0.015
    """So long a batch of messages is waited for, also when nothing comes."""
    fetch_wait_ms: int = 50
    fetch_bytes_max: int = 16 * 1024 * 1024
    broker: Callable[[], object] = lambda: None
    """Tells a broker from one that has forgotten everything, and takes offsets that mean nothing to it."""


class NoKafka(Exception):
    """Kafka cannot be reached, or has not all the topics yet."""


async def require_kafka(kafka: KafkaOptions, topics: Iterable[str]) -> None:
    """Return if Kafka answers and has these topics. Without a broker Faust gives up at its start; by asking
    for a topic that is not there it may make one, with any number of partitions.

    Raises:
        NoKafka: it does not.
    """
    client = None
    try:
        client = AIOKafkaClient(**{**kafka.connection(), "client_id": CLIENT_ID})
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            await client.bootstrap()
            # All there are: to ask for one by its name may make it.
            there = (await client.fetch_all_metadata()).topics()
    except (KafkaError, OSError, TimeoutError) as error:
        raise NoKafka(one_line(error)) from error
    finally:
        if client is not None:
            await client.close()
    missing = sorted(set(topics) - set(there))
    if missing:
        raise NoKafka(f"the relay has not made the topic {missing[0]} yet")


class _WithoutProducer(BootStrategy):
    """Nothing is sent, so no producer connects."""

    enable_kafka_producer = False


class Stream(faust.App):
    """One life of a consumer: from its start to its end, crash or not, it is never started again.

    Args:
        take: gets the values of some messages; True: done with them for good, False: given up.
    """

    logger = _faust_log

    BootStrategy: ClassVar[type[BootStrategy]] = _WithoutProducer

    def __init__(self, kafka: KafkaOptions, options: StreamOptions, take: Take) -> None:
        self.kafka = kafka
        self.options = options
        self.bootstrap = kafka.bootstrap()
        self.broker = options.broker()
        self.is_abandoned = False
        self._take = take
        super().__init__(
            options.group,
            broker=f"kafka://{self.bootstrap}",
            store="memory://",
            web_enabled=False,
            worker_redirect_stdouts=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            value_serializer="raw",
            stream_wait_empty=True,
            stream_buffer_maxsize=_BUFFER_MESSAGES,
            broker_commit_interval=_COMMIT_S,
            broker_request_timeout=max(10.0, options.session_timeout_s),
            broker_session_timeout=options.session_timeout_s,
            broker_max_poll_interval=_DAY_S,
        )
        bind_to_running_loop(self)
        # Raw and without acks of Faust's own: decoding is ours, and nothing is done before it is durable.
        self.agent(self.topic(*options.topics, value_type=bytes), name="take")(self._consume)
        self.finalize()

    async def _consume(self, stream: Any) -> None:
        """Nothing may raise out of the body: Faust would lose the events around the one that failed."""
        async for events in stream.noack_take(_BATCH_MESSAGES, within=self.options.within_s):
            if await self._take([event.value for event in events]):
                for event in events:
                    await stream.ack(event)
            else:
                # The end has come before they were dealt with, and must not wait for them.
                self.conf.stream_wait_empty = False

    @property
    def has_lost_its_broker(self) -> bool:
        """Whether the broker that it has consumed from is no more, or elsewhere now."""
        try:
            return self.options.broker() != self.broker or self.kafka.bootstrap() != self.bootstrap
        except OSError:
            return True

    def abandon(self) -> None:
        """It is about to be ended, and is to wait for nothing and commit nothing: what it has not, comes
        again.
        """
        self.is_abandoned = True
        self.conf.stream_wait_empty = False

    @property
    def assigned(self) -> int:
        """How many partitions it has."""
        return len(self._assignment or ())

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to a broker."""
        consumer = self._aiokafka()
        if consumer is None:
            return False
        return any(each.connected() for each in list(consumer._client._conns.values()))

    def cure(self) -> str | None:
        """Some errors of a group's coordinator are parked by aiokafka until `getmany`, which Faust never
        calls: such a member looks alive and does nothing. Let it go on; returns the error.
        """
        coordinator = getattr(self._aiokafka(), "_coordinator", None)
        if coordinator is None or coordinator._pending_exception is None or self.should_stop:
            return None
        parked = repr(coordinator._pending_exception)
        self._thread().thread_loop.call_soon_threadsafe(_consume_error, coordinator)
        return parked

    async def waiting(self) -> int | None:
        """How many messages there are for us in Kafka that were not dealt with a moment ago; None when that
        cannot be known, or we are in no group: something is wrong.
        """
        consumer, thread = self._aiokafka(), self._thread()
        coordinator = getattr(consumer, "_coordinator", None)
        if coordinator is None or not (self.assigned or coordinator.generation > 0):
            return None
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                partitions = list(consumer.assignment())
                begins = await thread.call_thread(consumer.beginning_offsets, partitions)
                ends = await thread.call_thread(consumer.end_offsets, partitions)
        except (KafkaError, OSError, TimeoutError, RuntimeError):
            return None
        committed: Any = self.consumer
        reached = {each: committed._committed_offset.get(each) or begins[each] for each in partitions}
        # A broker that was wiped ends before what was read, and nothing it has would be taken.
        total: int = sum(abs(ends[each] - reached[each]) for each in partitions)
        return total

    def _thread(self) -> Any:
        consumer: Any = self._consumer
        return consumer._thread if consumer is not None else None

    def _aiokafka(self) -> Any:
        thread = self._thread()
        return thread._consumer if thread is not None else None

    # Faust's own, replaced

    def _new_transport(self) -> Any:
        return _Transport([URL(f"kafka://{self.bootstrap}")], self)

    def _create_directories(self) -> None:
        """No folders are needed."""


async def end_leftovers() -> None:
    """After a crash Faust leaves tasks behind, which asyncio would complain about when it meets them."""
    left = [task for task in asyncio.all_tasks() if _is_fausts(task)]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_ANSWER_TIMEOUT_S)


def _is_fausts(task: "asyncio.Task[Any]") -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and bool({"mode", "faust"} & set(Path(code.co_filename).parts))


def _consume_error(coordinator: Any) -> None:
    try:
        coordinator.check_errors()
    except Exception as error:  # noqa: BLE001 - it was seen
        log.debug("%r", error)


class _QuietThread(WorkerThread):
    def run(self) -> None:
        """Print no traceback: whoever runs the stream says what has happened."""
        try:
            super().run()
        except BaseException as error:  # noqa: BLE001 - it is in the stream's `crash_reason` too
            _faust_log.debug("%r", error)


class _Thread(AIOKafkaConsumerThread):
    """The thread in which aiokafka consumes."""

    logger = _faust_log
    Worker = _QuietThread

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:  # noqa: ARG002
        """Faust's, with what it does not let one set."""
        app: Any = self.app
        kafka, options = app.kafka, app.options
        session_ms = round(options.session_timeout_s * 1000)
        return AIOKafkaConsumer(
            **{**kafka.connection(), "client_id": CLIENT_ID},
            group_id=options.group,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=options.fetch_bytes_max,
            fetch_max_wait_ms=options.fetch_wait_ms,
            check_crcs=False,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 6,
            rebalance_timeout_ms=15_000,
            max_poll_interval_ms=_DAY_S * 1000,
            metadata_max_age_ms=30_000,
        )

    async def _commit(self, offsets: Any) -> bool:
        """False also when nobody takes them: aiokafka would wait for ever, and whoever stops us with it."""
        app: Any = self.app
        if app.is_abandoned or app.has_lost_its_broker:
            return False
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                return bool(await super()._commit(offsets))
        except TimeoutError:
            return False

    async def on_thread_stop(self) -> None:
        """Without a broker aiokafka's own end is cut short by what it cancels, and the thread would go on."""
        with suppress(Exception, asyncio.CancelledError):
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await super().on_thread_stop()
        if self._consumer is not None:
            with suppress(Exception, asyncio.CancelledError):
                await self._consumer._client.close()

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """No traceback here either."""


class _Consumer(Consumer):
    logger = _faust_log

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(Transport):
    Consumer: ClassVar[type] = _Consumer
