"""Builds the running parts from settings: the event store, the bus over it, the API over both; the relay and
the worker.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.types import ASGIApp
from uuid_utils.compat import uuid7

from api import app
from api.ports import ApiSettings, Check, Checks
from commands.bus import Bus
from erp.checks import ask_kafka
from erp.contexts import CONTEXTS, SAGAS, aggregates, handlers, procedures, projections
from erp.embedded.clickhouse import ClickhouseError, EmbeddedClickhouse
from erp.embedded.kafka import EmbeddedKafka, KafkaError
from erp.settings import KafkaSettings, Settings, SettingsError, load_settings
from erp.tokens import auth_config
from eventstore.codec import Codec
from eventstore.packing import Packing, topic_of
from eventstore.publisher import KafkaOptions
from eventstore.relay import Relay, RelayOptions
from eventstore.store import EventStore, StoreOptions
from eventstore.tree_head import HeadSigner
from eventstore.vault import Vault, WrongMasterKey
from projections.clickhouse import ClickHouse
from projections.ingest import Ingest
from projections.projector import Projector
from projections.reading import ReadSide

if TYPE_CHECKING:
    from eventstore.streaming import StreamOptions
    from projections.worker import Worker
    from sagas.worker import SagaWorker


@dataclass(frozen=True, slots=True)
class CommandSide:
    """What carries out commands."""

    store: EventStore
    bus: Bus
    vault: Vault


def command_side(settings: Settings) -> CommandSide:
    """The command side, not yet connected: enter `store` to do so."""
    options = StoreOptions(
        cache_bytes_max=settings.store.cache_bytes_max,
        snapshot_every_events=settings.store.snapshot_every,
        batch_requests_max=settings.store.batch_requests_max,
        pool_size_max=settings.postgres.pool_size_max,
    )
    store = EventStore(settings.postgres.need("url"), Codec(aggregates()), options)
    attempts_max = settings.store.conflict_retries_max + 1
    vault = Vault(store.rows, settings.personal.need_key())
    bus = Bus(store, handlers(), procedures(settings), new_id=uuid7, vault=vault, attempts_max=attempts_max)
    return CommandSide(store, bus, vault)


@asynccontextmanager
async def running_command_side(settings: Settings) -> AsyncIterator[CommandSide]:
    """The command side, connected for the duration.

    Raises:
        SettingsError: a key that it needs is missing, or personal data was sealed under another.
    """
    side = command_side(settings)
    async with side.store:
        try:
            await side.vault.require_master_key()
        except WrongMasterKey as error:
            raise SettingsError(f"ERP_PERSONAL__KEY: {error}") from None
        yield side


async def require_command_side(settings: Settings) -> None:
    """Return if commands can be taken with these settings.

    Raises:
        SettingsError: see `running_command_side`.
    """
    async with running_command_side(settings):
        pass


def create_app() -> ASGIApp:
    """The HTTP application, as the environment says. It connects when it is started."""
    settings = load_settings()
    side = command_side(settings)
    clickhouse = ClickHouse(clickhouse_url(settings))
    return app.create_app(
        settings=ApiSettings(
            version=version("killer-erp"),
            in_flight_max=settings.http.in_flight_max,
            body_bytes_max=settings.http.body_bytes_max,
            stripe_webhook_secret=settings.payments.stripe_webhook_secret,
        ),
        auth=auth_config(settings),
        bus=side.bus,
        store=side.store,
        vault=side.vault,
        read_side=ReadSide(clickhouse, side.store),
        tenants=_remembering(side.store.find_tenant),
        contexts=[context.routes for context in CONTEXTS],
        checks=_checks(settings, side.store, clickhouse),
        lifespan=partial(_connected, side.store, clickhouse),
    )


@asynccontextmanager
async def _connected(store: EventStore, clickhouse: ClickHouse) -> AsyncIterator[None]:
    async with store, clickhouse:
        yield


def _checks(settings: Settings, store: EventStore, clickhouse: ClickHouse) -> Checks:
    """What the API stands on, as far as it was told where that is. Commands need Postgres only."""
    checks = {"postgres": Check(store.ping)}
    if settings.embedded or settings.kafka.bootstrap:
        checks["kafka"] = Check(partial(ask_kafka, kafka_options(settings)), required=False)
    if settings.embedded or settings.clickhouse.url:
        checks["clickhouse"] = Check(clickhouse.ping, required=False)
    return checks


def _remembering(find: Callable[[str], Awaitable[UUID | None]]) -> Callable[[str], Awaitable[UUID | None]]:
    """Asks once for each tenant that there is: neither its name nor its id ever changes."""
    known: dict[str, UUID] = {}

    async def found(name: str) -> UUID | None:
        tenant = known.get(name) or await find(name)
        if tenant is not None:
            known[name] = tenant
        return tenant

    return found


def runs_kafka(settings: Settings) -> bool:
    """Whether the broker is one of ours."""
    return settings.embedded and not settings.kafka.bootstrap


def runs_clickhouse(settings: Settings) -> bool:
    """Whether the ClickHouse server is one of ours."""
    return settings.embedded and not settings.clickhouse.url


def require_clickhouse(settings: Settings) -> None:
    """Return if there is to be one.

    Raises:
        SettingsError: a deployment was not told where.
    """
    if not settings.clickhouse.url and not settings.embedded:
        raise SettingsError("ERP_CLICKHOUSE__URL is missing and this command needs it")


def clickhouse_url(settings: Settings) -> Callable[[], str]:
    """Where ClickHouse is, as of now: an embedded one may come back elsewhere. OSError: not known."""
    embedded = EmbeddedClickhouse(settings.home)

    def url() -> str:
        if not settings.clickhouse.url and not settings.embedded:
            raise ConnectionError("ERP_CLICKHOUSE__URL is not given")
        try:
            return settings.clickhouse.url or embedded.url
        except ClickhouseError as error:
            raise ConnectionError(str(error)) from None

    return url


def kafka_topics(settings: Settings) -> dict[str, int]:
    """The topic of each aggregate type, with its number of partitions."""
    kafka = settings.kafka
    return {topic_of(kafka.topic_prefix, each.TOPIC): kafka.partitions for each in aggregates()}


def kafka_options(settings: Settings) -> KafkaOptions:
    """Where Kafka is and how to get in.

    Raises:
        SettingsError: a deployment was not told.
    """
    kafka = settings.kafka
    if not kafka.bootstrap and not settings.embedded:
        raise SettingsError("ERP_KAFKA__BOOTSTRAP is missing and this command needs it")
    embedded = EmbeddedKafka(settings.home)

    def bootstrap() -> str:
        try:
            return kafka.bootstrap or embedded.bootstrap
        except KafkaError as error:
            raise ConnectionError(str(error)) from None

    return KafkaOptions(
        bootstrap=bootstrap,
        replication=kafka.replication,
        compression=None if kafka.compression == "none" else kafka.compression,
        security_protocol=kafka.security_protocol,
        ssl_context=_ssl_context(kafka),
        sasl_mechanism=kafka.sasl_mechanism if kafka.security_protocol.startswith("SASL") else None,
        username=kafka.username,
        password=kafka.password,
    )


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    if not kafka.security_protocol.endswith("SSL"):
        return None
    try:
        return ssl.create_default_context(cafile=kafka.ca_file)
    except OSError as error:
        raise SettingsError(f"ERP_KAFKA__CA_FILE: {error.strerror or error}") from None


def create_relay(settings: Settings, *, from_start: bool = False) -> Relay:
    """The relay, not yet running.

    Raises:
        SettingsError: a deployment was not told where Kafka is, or what to sign tree heads with.
    """
    key = settings.audit.signing_key
    if key is None or key.private_key is None:
        raise SettingsError("ERP_AUDIT__KEYS: the relay signs tree heads and needs a key with a private_key")
    kafka = settings.kafka
    return Relay(
        settings.postgres.need("relay_url"),
        kafka_options(settings),
        signer=HeadSigner.from_pem(key.kid, key.private_key),
        packing=Packing(
            topic_prefix=kafka.topic_prefix,
            partitions=kafka.partitions,
            batch_events_max=kafka.batch_events_max,
            batch_bytes_max=kafka.batch_bytes_max,
            event_bytes_max=kafka.event_bytes_max,
        ),
        options=RelayOptions(head_s=settings.relay.head_interval_s),
        stream_types=[each.TOPIC for each in aggregates()],
        from_start=from_start,
    )


def create_worker(settings: Settings) -> "Worker":
    """The worker of the read role, not yet running. To be called in the loop that it will run in.

    Raises:
        SettingsError: a deployment was not told where Kafka or ClickHouse is.
    """
    # Faust takes a quarter of a second to load, which nobody else has to wait for.
    from projections.worker import Worker  # noqa: PLC0415

    url = settings.postgres.need("worker_url")
    require_clickhouse(settings)
    kafka = kafka_options(settings)
    clickhouse = ClickHouse(clickhouse_url(settings))
    codec = Codec(aggregates())
    projector = Projector(url, clickhouse, codec, projections())
    ingest = Ingest(
        url, clickhouse, codec, watermark=lambda: projector.status.position, written=projector.brought
    )
    stream = _stream(settings, "read", list(kafka_topics(settings)), within_s=0.1)
    return Worker(url, kafka, stream, clickhouse=clickhouse, ingest=ingest, projector=projector)


def create_saga_worker(settings: Settings) -> "SagaWorker":
    """The worker of the saga role, not yet running. To be called in the loop that it will run in.

    Raises:
        SettingsError: a deployment was not told where Kafka is, or lacks what commands need.
    """
    from sagas.interests import Interests  # noqa: PLC0415
    from sagas.worker import SagaOptions, SagaWorker  # noqa: PLC0415

    url = settings.postgres.need("saga_url")
    side = command_side(settings)
    interests = Interests(
        SAGAS,
        aggregates(),
        topic_prefix=settings.kafka.topic_prefix,
        partitions=settings.kafka.partitions,
    )
    return SagaWorker(
        url,
        kafka_options(settings),
        _stream(settings, "saga", interests.topics, within_s=0.005),
        interests=interests,
        store=side.store,
        bus=side.bus,
        codec=Codec(aggregates()),
        commands=[*handlers(), *procedures(settings)],
        aggregates=aggregates(),
        options=SagaOptions(
            at_once_max=settings.sagas.at_once_max,
            wait_s=settings.sagas.wait_s,
            retry_s=settings.sagas.retry_s,
            late_s=settings.sagas.late_s,
        ),
    )


def _stream(settings: Settings, role: str, topics: list[str], *, within_s: float) -> "StreamOptions":
    """How the consumer group of a role consumes."""
    from eventstore.streaming import StreamOptions  # noqa: PLC0415

    stream = StreamOptions(
        group=f"{settings.kafka.topic_prefix}-{role}",
        topics=topics,
        # Less is refused by Kafka unless it is told otherwise.
        session_timeout_s=settings.worker.session_timeout_s or 6.0,
        within_s=within_s,
        fetch_wait_ms=100,
        fetch_bytes_max=4 * max(settings.kafka.event_bytes_max, settings.kafka.batch_bytes_max),
    )
    if not runs_kafka(settings):
        return stream
    # The embedded broker lets a group settle fast, does not wake who waits, and comes back empty.
    return stream._replace(
        session_timeout_s=settings.worker.session_timeout_s or 3.0,
        fetch_wait_ms=15,
        broker=EmbeddedKafka(settings.home).pid,
    )
