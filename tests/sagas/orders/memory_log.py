"""An event store in memory: the promises of the real one at full speed, and it can break off anywhere."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from commands.ports import Outcome
from domain.shared.aggregate import Aggregate, NumberedEvent
from domain.shared.personal import Personal
from eventstore.codec import Codec, StoredFields
from eventstore.leaf import StoredEvent
from eventstore.queues import StreamQueues

A = TypeVar("A", bound=Aggregate)

NEVER = datetime.fromtimestamp(0, UTC)


class Crash(BaseException):
    """The process is gone: nothing may catch it on its way."""


@dataclass(frozen=True)
class Stored:
    """How an append ended."""

    outcome: Outcome
    position: int = 0
    recorded_at: datetime = NEVER
    answer: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Log:
    """All events, and the answers to commands. `on_append` is told before and after each append."""

    codec: Codec
    clock: Callable[[], datetime]
    events: list[StoredEvent] = field(default_factory=list)
    streams: dict[UUID, list[StoredEvent]] = field(default_factory=dict)
    commands: dict[str, tuple[bytes, Stored]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    on_append: Callable[[], None] = lambda: None

    def stream(self, stream_id: UUID) -> list[StoredEvent]:
        """Its events."""
        return self.streams.get(stream_id, [])

    def append(self, tenant: UUID, changed: Sequence[Aggregate], metadata: Mapping[str, Any]) -> StoredEvent:
        """Write what is pending; the last event."""
        for aggregate in changed:
            for event in aggregate.collect_events():
                assert isinstance(event, Aggregate.Event)
                self._write(tenant, aggregate, event, orjson.dumps(metadata))
        return self.events[-1]

    def _write(self, tenant: UUID, aggregate: Aggregate, event: Aggregate.Event, metadata: bytes) -> None:
        encoded = self.codec.encode(event)
        number = None
        if isinstance(event, NumberedEvent):
            number = self.numbers[event.series] = self.numbers.get(event.series, 0) + 1
        position = len(self.events) + 1
        stored = StoredEvent(
            position=position,
            event_id=uuid7(),
            tenant=tenant,
            tenant_seq=position,
            stream_id=aggregate.id,
            version=event.originator_version,
            schema_version=encoded.schema_version,
            number=number,
            recorded_at=self.clock() + timedelta(microseconds=position),
            stream_type=aggregate.TOPIC,
            type=encoded.type,
            series=encoded.series,
            encoding="json",
            data=encoded.data,
            metadata=metadata,
        )
        self.events.append(stored)
        self.streams.setdefault(aggregate.id, []).append(stored)


class MemoryStore:
    """The log as one process sees it: with a cache and turns of its own."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._cache: dict[UUID, Aggregate] = {}
        self._queues = StreamQueues()

    async def load(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        return self.cached(aggregate_class, stream_id, tenant) or await self.load_current(
            aggregate_class, stream_id, tenant
        )

    def cached(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A | None:
        found = self._cache.get(stream_id)
        return found if isinstance(found, aggregate_class) else None

    def begin(
        self, aggregate_class: type[Aggregate], tenant: UUID, first: Aggregate.Event, json_bytes: int
    ) -> None:
        del tenant, json_bytes
        if first.originator_id not in self._cache:
            aggregate = aggregate_class.blank(first.originator_id)
            first.mutate(aggregate)
            self._cache[aggregate.id] = aggregate

    async def load_current(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        await asyncio.sleep(0)
        found = self.cached(aggregate_class, stream_id, tenant) or aggregate_class.blank(stream_id)
        aggregate = found.editable_copy()
        for event in self._decoded(stream_id)[aggregate.version :]:
            event.mutate(aggregate)
        self._cache[stream_id] = aggregate
        return aggregate

    async def history(
        self, aggregate_class: type[Aggregate], stream_id: UUID, tenant: UUID, up_to_version: int
    ) -> list[Aggregate.Event]:
        del aggregate_class, tenant
        return self._decoded(stream_id)[:up_to_version]

    async def place(self, aggregate: Aggregate, tenant: UUID) -> tuple[int, datetime]:
        del tenant
        last = self.log.stream(aggregate.id)[aggregate.version - len(aggregate.pending_events) - 1]
        return last.position, last.recorded_at

    def queue(self, *stream_ids: UUID) -> AbstractAsyncContextManager[None]:
        return self._queues.turn(*stream_ids)

    async def append(
        self,
        *,
        tenant: UUID,
        changed: Sequence[Aggregate],
        reads: Sequence[Aggregate],
        idempotency_key: str,
        request_hash: bytes,
        answer: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Stored:
        self.log.on_append()
        await asyncio.sleep(0)
        known = await self.find(tenant, idempotency_key, request_hash)
        if known is not None:
            return self._forget(known, changed, reads)
        for each in (*changed, *reads):
            if len(self.log.stream(each.id)) != each.version - len(each.pending_events):
                return self._forget(Stored("conflict"), changed, reads)
        last = self.log.append(tenant, changed, metadata)
        kept = orjson.loads(orjson.dumps(answer))
        stored = Stored("appended", last.position, last.recorded_at, kept)
        self.log.commands[idempotency_key] = (request_hash, stored)
        self._forget(stored, changed, ())
        self.log.on_append()
        return stored

    def _forget(self, stored: Stored, changed: Sequence[Aggregate], reads: Sequence[Aggregate]) -> Stored:
        for each in (*changed, *reads):
            self._cache.pop(each.id, None)
        return stored

    async def find(self, tenant: UUID, idempotency_key: str, request_hash: bytes) -> Stored | None:
        del tenant
        if idempotency_key not in self.log.commands:
            return None
        known_hash, stored = self.log.commands[idempotency_key]
        outcome: Outcome = "replayed" if known_hash == request_hash else "key_reused"
        return Stored(outcome, stored.position, stored.recorded_at, stored.answer)

    def _decoded(self, stream_id: UUID) -> list[Aggregate.Event]:
        return [
            self.log.codec.decode(
                stream_id,
                StoredFields(
                    each.version, each.type, each.schema_version, each.series, each.number, each.data
                ),
            )
            for each in self.log.stream(stream_id)
        ]


class MemoryVault:
    """Seals nothing, but says so."""

    async def seal(self, tenant: UUID, subject: str, value: Mapping[str, str]) -> Personal[Any]:
        del tenant, value
        return Personal(subject, UUID(int=3), "c2VhbGVk")

    async def open(self, tenant: UUID, personal: Personal[Any]) -> Mapping[str, str] | None:
        raise NotImplementedError
