"""The relay: publishes the log to Kafka in commit order, and folds it into the Merkle tree.

Promises: of all relays one is active, by a lock that its database session holds, and another takes its place
within five seconds of its end, however it ends. The checkpoint moves after Kafka has the events: a crash
repeats some, and never loses one. Memory is bounded, and a Kafka that is slow, gone or empty is waited for;
whoever appends never notices. The tree goes on growing meanwhile.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg

from eventstore import checkpoint as checkpoints
from eventstore.checkpoint import Checkpoint, CheckpointMoved, Connection
from eventstore.cloudevents import LogEvent
from eventstore.one_line import one_line
from eventstore.packing import Message, Packer, Packing, Partition
from eventstore.pause import pause
from eventstore.publisher import KafkaFailure, KafkaOptions, MessageTooLarge, Publisher, raise_failures
from eventstore.refusal import Refusal
from eventstore.tree import Tree
from eventstore.tree_head import HeadSigner

log = logging.getLogger(__name__)

_LOCK: Final = 4712820728
_STAND_BY_S: Final = 0.25
_HEARTBEAT_S: Final = 1.0
_STOP_S: Final = 3.0
_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_CONNECTION: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 3,
    "application_name": "erp relay",
    # A relay that hangs, or whose machine is gone, loses its session and with it the lock: the heartbeat is
    # faster. Checkpoints wait for no disk: a lost one only repeats events.
    "options": "-c timezone=UTC -c statement_timeout=30s -c synchronous_commit=off "
    "-c idle_session_timeout=3s "
    "-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3",
}
_FOLDING: Final[dict[str, Any]] = {
    **_CONNECTION,
    "application_name": "erp relay (tree)",
    "options": "-c timezone=UTC -c statement_timeout=30s",
}


# The session is gone, or another relay has done what we were about to do.
_LOST: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.UniqueViolation,
    CheckpointMoved,
)


class RelayOptions(NamedTuple):
    """How the relay uses time and memory. Units last in the names."""

    poll_s: float = 0.02
    page_events_max: int = 1000
    page_bytes_max: int = 4 * 1024 * 1024
    pages_in_flight_max: int = 4
    ack_timeout_s: float = 15.0
    fold_s: float = 0.25
    head_s: float = 10.0


@dataclass
class RelayStatus:
    """How the relay is doing, for its metrics."""

    active: bool = False
    kafka_connected: bool = False
    position: int = 0
    """Everything up to it is in Kafka."""
    last_position: int = 0
    lag_s: float = 0.0
    tree_size: int = 0
    signed_size: int = 0
    events: int = 0
    messages: int = 0
    bytes: int = 0
    kafka_failures: int = 0


class MessagesTooLarge(Refusal):
    """The broker takes no messages as large as ours."""


class _Overtime(Exception):
    """It was told to stop a while ago."""


class _Page(NamedTuple):
    """Events on their way."""

    position: int
    tails: dict[Partition, int]
    sent: "list[asyncio.Future[Any]]"
    since_s: float


class Relay:
    """One relay process.

    Args:
        url: Postgres, as erp_relay.
        stream_types: whose topics are made at once, for consumers that are there before the first event.
        signer: signs the tree heads.
        from_start: forget what was published, once, when this relay becomes the active one.
    """

    def __init__(
        self,
        url: str,
        kafka: KafkaOptions,
        *,
        signer: HeadSigner,
        packing: Packing = Packing(),  # noqa: B008 - immutable
        options: RelayOptions = RelayOptions(),  # noqa: B008 - immutable
        stream_types: Sequence[str] = (),
        from_start: bool = False,
    ) -> None:
        self._url = url
        self._kafka = kafka
        self._signer = signer
        self._packing = packing
        self._options = options
        self._stream_types = stream_types
        self._from_start = from_start
        self._stop = asyncio.Event()
        self.status = RelayStatus()

    def stop(self) -> None:
        """Ask it to end: it takes on nothing more, and waits for what is under way, for a moment."""
        self._stop.set()

    async def run(self) -> None:
        """Stand by, be active when nobody else is, until told to stop.

        Raises:
            Refusal: a person must decide.
        """
        failures = 0
        while not self._stop.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(self._url, **_CONNECTION) as connection:
                    if await self._become_active(connection):
                        failures = 0
                        await self._be_active(connection)
            except _LOST as error:
                if failures == 0:
                    log.warning("not active any more: %s", one_line(error))
                await pause(self._stop, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
            except _Overtime:
                log.info("what was under way is given up; it comes again")
            finally:
                self.status.active = False

    async def _become_active(self, connection: Connection) -> bool:
        """Wait for the lock; False when told to stop meanwhile."""
        waiting = False
        while not self._stop.is_set():
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
            row = await cursor.fetchone()
            if row is not None and row[0]:
                return True
            if not waiting:
                waiting = True
                log.info("another relay is active; standing by")
            await pause(self._stop, _STAND_BY_S)
        return False

    async def _be_active(self, connection: Connection) -> None:
        if self._from_start:
            await checkpoints.start_over(connection)
            self._from_start = False
        checkpoint = await checkpoints.load(connection, self._packing.partitions)
        self.status.active = True
        self.status.position = checkpoint.position
        log.info("active: publishing after position %s", checkpoint.position)
        await _first_to_end(
            self._publish(connection, checkpoint),
            self._heartbeat(connection),
            self._fold(),
            self._end_in_time(),
        )

    async def _end_in_time(self) -> None:
        """A broker that is stuck, or far away, holds up nobody who wants us to stop.

        Raises:
            _Overtime: always.
        """
        await self._stop.wait()
        await asyncio.sleep(_STOP_S)
        raise _Overtime

    async def _heartbeat(self, connection: Connection) -> None:
        """Keep the session, and know how far behind we are, also while Kafka is waited for."""
        while True:
            status = self.status
            status.last_position, status.lag_s = await checkpoints.lag(connection, status.position)
            await asyncio.sleep(_HEARTBEAT_S)

    # Publishing

    async def _publish(self, connection: Connection, checkpoint: Checkpoint) -> None:
        """Publish until told to stop, with a new producer after each failure of the last."""
        failures = 0
        while not self._stop.is_set():
            before = checkpoint.position
            try:
                async with Publisher(self._kafka, self._packing) as publisher:
                    await publisher.ensure_topics(self._stream_types)
                    if failures:
                        log.info("Kafka is back; publishing after position %s", checkpoint.position)
                    self.status.kafka_connected = True
                    await self._stream(connection, checkpoint, publisher)
            except KafkaFailure as error:
                self.status.kafka_failures += 1
                if isinstance(error, MessageTooLarge):
                    self._send_less(error)
                failures = failures if checkpoint.position == before else 0
                if failures == 0:
                    log.warning("Kafka: %s; trying again until it is back", one_line(error))
                await pause(self._stop, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
            finally:
                self.status.kafka_connected = False

    def _send_less(self, error: Exception) -> None:
        """The broker takes no event of that size: from now on such events go without their data."""
        limit = self._packing.batch_bytes_max
        if self._packing.event_bytes_max <= limit:
            raise MessagesTooLarge(
                f"Kafka takes no message of {limit} bytes ({one_line(error)}): "
                "raise message.max.bytes of the broker, or lower ERP_KAFKA__BATCH_BYTES_MAX"
            ) from error
        log.warning("Kafka takes no event above %s bytes; larger ones go without their data", limit)
        self._packing = self._packing._replace(event_bytes_max=limit)

    async def _stream(self, connection: Connection, checkpoint: Checkpoint, publisher: Publisher) -> None:
        """Read, pack and send; several pages may wait for Kafka's answers, and are checkpointed in order."""
        packer = Packer(self._packing, checkpoint.tails)
        in_flight: deque[_Page] = deque()
        position = checkpoint.position
        while in_flight or not self._stop.is_set():
            publisher.require_same_broker()
            events: list[LogEvent] = []
            may_read = not self._stop.is_set() and len(in_flight) < self._options.pages_in_flight_max
            if may_read:
                events = await self._read(connection, position)
            if events:
                position = events[-1].event.position
                in_flight.append(await self._send(publisher, packer.pack(events), position))
                self.status.events += len(events)
            await self._settle(connection, checkpoint, in_flight)
            if in_flight:
                self._require_answers(in_flight[0])
            if in_flight and not may_read:
                await asyncio.wait(in_flight[0].sent, timeout=self._options.poll_s)
            elif not self._is_full(events):
                await pause(self._stop, self._options.poll_s)

    async def _read(self, connection: Connection, after: int) -> list[LogEvent]:
        options = self._options
        return await checkpoints.read_page(connection, after, options.page_events_max, options.page_bytes_max)

    def _is_full(self, page: Sequence[LogEvent]) -> bool:
        """Whether there may be more at once; else what comes within the next moment shares messages."""
        if len(page) == self._options.page_events_max:
            return True
        return (
            sum(len(each.event.data) + len(each.event.metadata) for each in page)
            >= self._options.page_bytes_max
        )

    async def _send(self, publisher: Publisher, messages: Sequence[Message], position: int) -> _Page:
        since_s = asyncio.get_running_loop().time()
        sent = await publisher.send(messages)
        self.status.messages += len(messages)
        self.status.bytes += sum(len(message.value) for message in messages)
        return _Page(position, {m.to: m.last_position for m in messages}, sent, since_s)

    async def _settle(
        self, connection: Connection, checkpoint: Checkpoint, in_flight: "deque[_Page]"
    ) -> None:
        """Move the checkpoint past the pages that Kafka has."""
        tails: dict[Partition, int] = {}
        position = checkpoint.position
        while in_flight and all(future.done() for future in in_flight[0].sent):
            raise_failures(in_flight[0].sent)
            page = in_flight.popleft()
            tails |= page.tails
            position = page.position
        if tails:
            # After the ack: a crash in between repeats events, and never loses one.
            await checkpoints.advance(connection, checkpoint, position, tails, self._packing.partitions)
            self.status.position = position

    def _require_answers(self, oldest: _Page) -> None:
        """The producer itself waits for ever."""
        patience_s = self._options.ack_timeout_s
        if asyncio.get_running_loop().time() - oldest.since_s > patience_s:
            raise KafkaFailure(f"no answer within {patience_s:g} s")

    # The tree

    async def _fold(self) -> None:
        """Grow the tree, and sign a head of it when it has grown and the last one is old enough."""
        clock = asyncio.get_running_loop().time
        async with await psycopg.AsyncConnection.connect(self._url, **_FOLDING) as connection:
            tree = await Tree.resume(connection)
            sign_at = 0.0
            while not self._stop.is_set():
                while await tree.extend() and not self._stop.is_set():
                    self.status.tree_size = tree.size
                if tree.has_grown() and clock() >= sign_at:
                    await tree.sign(self._signer)
                    sign_at = clock() + self._options.head_s
                self.status.tree_size = tree.size
                self.status.signed_size = tree.signed.head.tree_size if tree.signed else 0
                await pause(self._stop, self._options.fold_s)


async def _first_to_end(main: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Run them together until `main` ends or any fails; then end the rest. An end of others is no reason."""
    tasks = [asyncio.create_task(each) for each in (main, *others)]
    try:
        running = set(tasks)
        while tasks[0] in running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
