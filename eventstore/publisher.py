"""Messages into Kafka: an idempotent producer that waits for every in-sync replica, and the topics it needs.

Whatever goes wrong is `KafkaFailure`; the producer is then of no more use. Order within a partition holds:
one request per partition is under way at a time, and what follows on a message that the broker refused is
refused too, for its sequence number. Only a producer's first message in a partition has nothing that it could
be held against: it has to be taken before the second is sent.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ssl import SSLContext
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)

from eventstore.cloudevents import BATCH_CONTENT_TYPE
from eventstore.packing import Message, Packing, Partition, topic_of
from eventstore.refusal import Refusal

CLIENT_ID: Final = "erp-relay"

_REQUEST_TIMEOUT_S: Final = 10.0
_START_TIMEOUT_S: Final = 15.0
_STOP_TIMEOUT_S: Final = 3.0
_ABANDON_S: Final = 0.5
_PARTITIONS_TIMEOUT_S: Final = 5.0
# Several messages for one partition that wait for the same answer go out together.
_REQUEST_BYTES: Final = 1 << 20
# What Kafka puts around a message of ours is far less.
_MARGIN_BYTES: Final = 64 * 1024
_HEADERS: Final = [("content-type", BATCH_CONTENT_TYPE.encode())]


class KafkaFailure(Exception):
    """The broker is gone, or did not take what it was given; trying again may help."""


class MessageTooLarge(KafkaFailure):
    """The broker takes no message of that size."""


class TopicUnfit(Refusal):
    """A topic has fewer partitions than messages are spread over."""


class KafkaOptions(NamedTuple):
    """Where Kafka is, how to get in, and what topics are made like."""

    bootstrap: Callable[[], str]
    """`host:port,…`; asked again and again, for an embedded broker may come back elsewhere. OSError: not
    known.
    """
    replication: int = 1
    compression: str | None = None
    security_protocol: str = "PLAINTEXT"
    ssl_context: SSLContext | None = None
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = None

    def connection(self) -> dict[str, Any]:
        """What every aiokafka client of ours is made with."""
        given = {
            "bootstrap_servers": self.bootstrap().split(","),
            "client_id": CLIENT_ID,
            "request_timeout_ms": round(_REQUEST_TIMEOUT_S * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }
        return {name: value for name, value in given.items() if value is not None}


class Publisher:
    """One producer, from `async with` to the first failure."""

    def __init__(self, options: KafkaOptions, packing: Packing) -> None:
        self._options = options
        self._packing = packing
        self._message_bytes_max = max(packing.event_bytes_max, packing.batch_bytes_max)
        self._producer: Any = None
        self._ready_topics: set[str] = set()
        self._first_sent: dict[Partition, asyncio.Future[Any]] = {}
        self._bootstrap = ""

    async def __aenter__(self) -> Self:
        """Connect. KafkaFailure when there is nobody, or who is there does not let us in; it says why."""
        with _failures():
            connection = self._options.connection()
            self._bootstrap = ",".join(connection["bootstrap_servers"])
            self._producer = AIOKafkaProducer(
                **connection,
                acks="all",
                enable_idempotence=True,
                compression_type=self._options.compression,
                linger_ms=0,
                max_batch_size=_REQUEST_BYTES,
                max_request_size=self._message_bytes_max + _MARGIN_BYTES,
            )
            try:
                async with asyncio.timeout(_START_TIMEOUT_S):
                    await self._start(connection)
            except BaseException:
                await _whole(self._abandon())
                raise
        return self

    async def _start(self, connection: Mapping[str, Any]) -> None:
        try:
            await _whole(self._producer.start())
        except KafkaConnectionError:
            # Why nobody could be reached, the producer only logs: a wrong password, a certificate, a name.
            host, _, port = connection["bootstrap_servers"][0].rpartition(":")
            asked = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
            (await create_conn(host, int(port), **asked)).close()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Send what was taken on, unless something failed; then let go of it."""
        try:
            if kind is None:
                with suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(_STOP_TIMEOUT_S):
                        await self._producer.flush()
        finally:
            await _whole(self._abandon())

    async def _abandon(self) -> None:
        """Hang up without waiting for a broker that may be gone, which the producer's own `stop` does."""
        producer = self._producer
        producer._closed = True  # noqa: SLF001
        # The connections first, else the sender waits for answers that may never come.
        await _hang_up(producer.client)
        closing = asyncio.create_task(producer._sender.close())  # noqa: SLF001
        closing.add_done_callback(_look_at)
        await asyncio.wait({closing}, timeout=_ABANDON_S)
        closing.cancel()
        # And those that it opened meanwhile.
        await _hang_up(producer.client)

    def require_same_broker(self) -> None:
        """Return unless the broker is elsewhere by now, where the producer would never find it."""
        with _failures():
            if self._options.bootstrap() != self._bootstrap:
                raise KafkaFailure("the broker has moved")

    async def ensure_topics(self, stream_types: Collection[str]) -> None:
        """See that the topics of these aggregate types are there, with the partitions that we count on.

        Raises:
            TopicUnfit: one has fewer.
        """
        prefix = self._packing.topic_prefix
        await self._ensure({topic_of(prefix, stream_type) for stream_type in stream_types})

    async def _ensure(self, topics: Collection[str]) -> None:
        wanted = sorted(set(topics) - self._ready_topics)
        if not wanted:
            return
        with _failures():
            await self._create(wanted)
            for topic in wanted:
                await self._require_partitions(topic)
        self._ready_topics |= set(wanted)

    async def _create(self, topics: Sequence[str]) -> None:
        admin = AIOKafkaAdminClient(**self._options.connection())
        try:
            await _whole(admin.start())
            there = set(await admin.list_topics())
            configs = {"max.message.bytes": str(self._message_bytes_max + _MARGIN_BYTES)}
            new = [
                NewTopic(topic, self._packing.partitions, self._options.replication, topic_configs=configs)
                for topic in topics
                if topic not in there
            ]
            if not new or not await _has_controller(admin):
                return
            answer = await admin.create_topics(new)
            for topic, code, *words in answer.topic_errors:
                if code and code != TopicAlreadyExistsError.errno:
                    reason = words[0] if words and words[0] else for_code(code).__name__
                    raise KafkaFailure(f"the topic {topic} cannot be made: {reason}")
        except IncompatibleBrokerVersion:
            pass  # such a broker makes a topic when it is first asked about one
        finally:
            await _whole(admin.close())

    async def _require_partitions(self, topic: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PARTITIONS_TIMEOUT_S
        wanted = self._packing.partitions
        while len(there := await self._producer.partitions_for(topic)) < wanted:
            if loop.time() > deadline:
                raise TopicUnfit(
                    f"the topic {topic} has {len(there)} partitions, and messages go to {wanted}: "
                    "add partitions to it, or set ERP_KAFKA__PARTITIONS before the first event is published"
                )
            await self._producer.client.force_metadata_update()
            await asyncio.sleep(0.1)

    async def send(self, messages: Sequence[Message]) -> "list[asyncio.Future[Any]]":
        """Hand the messages over in order; each has a future that settles it.

        Waits for a slow broker, and for its answer to the first message in a partition before the second.
        """
        await self._ensure({message.to.topic for message in messages})
        sent = []
        with _failures():
            for message in messages:
                if (first := self._first_sent.get(message.to)) is not None:
                    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                        await asyncio.shield(first)
                topic, partition = message.to
                future = await self._producer.send(
                    topic, message.value, partition=partition, headers=_HEADERS
                )
                future.add_done_callback(_look_at)
                sent.append(future)
                self._first_sent.setdefault(message.to, future)
        return sent


def raise_failures(sent: "Sequence[asyncio.Future[Any]]") -> None:
    """Return if none of these has failed.

    Raises:
        MessageTooLarge, KafkaFailure: the first that has.
    """
    with _failures():
        for future in sent:
            if future.done():
                future.result()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except MessageSizeTooLargeError as error:
        raise MessageTooLarge(str(error)) from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise KafkaFailure(str(error) or type(error).__name__) from error


async def _has_controller(admin: Any) -> bool:
    """Whether the cluster has somebody to make topics, without whom the client breaks.

    The embedded broker never has, and makes a topic when it is first asked about one. Elsewhere one is being
    elected: the topic is missed next, and all this tried again.
    """
    client = admin._client  # noqa: SLF001
    if client.cluster.controller is None:
        await client.force_metadata_update()
    return client.cluster.controller is not None


async def _whole(doing: Coroutine[Any, Any, None]) -> None:
    """What aiokafka must not be cancelled in: it would forget connections that it has just opened, and leave
    them to the garbage collector. A cancellation waits for its end, for a moment: a stuck broker has none.
    """
    task = asyncio.create_task(doing)
    task.add_done_callback(_look_at)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task}, timeout=2 * _ABANDON_S)
        finally:
            task.cancel()
        raise


async def _hang_up(client: Any) -> None:
    """Close its connections without waiting for somebody to read what was written."""
    for connection in client._conns.values():  # noqa: SLF001
        if connection._writer is not None:  # noqa: SLF001
            connection._writer.transport.abort()  # noqa: SLF001
    await client.close()


def _look_at(future: "asyncio.Future[Any]") -> None:
    """Nobody waits for it any more when the producer was given up; asyncio would complain."""
    if not future.cancelled():
        future.exception()
