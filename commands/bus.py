"""The bus: where every command is authorised, decided, stored exactly once, and retried on conflict.

execute → may the caller? → handler decides on a `Work` → the events are appended, with the versions of all
that was read and the idempotency key, in one transaction → answer. A conflict starts over with fresh state,
at most `attempts_max` times. A refusal is only reported after two questions to the log: was this very command
stored before, and was the decision made on what is still true?
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from commands.errors import ConcurrencyConflict, IdempotencyKeyReused, NotPermitted, VersionMismatch
from commands.permissions import Permissions
from commands.ports import Receipt, Store
from domain.shared.aggregate import Aggregate
from domain.shared.errors import DomainError

A = TypeVar("A", bound=Aggregate)


class Command(BaseModel, ABC):
    """A request to change something. Its fields are the route's body and path parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    TOPIC: ClassVar[str]
    """The command's name in bulk requests and metadata, frozen like those of events."""
    creates: ClassVar[bool] = False
    """Whether success makes a new thing (HTTP 201)."""

    @property
    @abstractmethod
    def permission(self) -> str:
        """What the caller must be allowed to do."""

    @property
    def why(self) -> str | None:
        """The reason to keep in the events' metadata."""
        # Not getattr: on a pydantic model a missing attribute takes ten times as long.
        return self.__dict__.get("reason")


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, and under which circumstances.

    Attributes:
        request_hash: 32 bytes that tell this request from any other under the same key.
        expected_version: the version that the first edited stream must have, if the caller insists.
    """

    tenant: UUID
    actor: str
    permissions: Permissions
    idempotency_key: str
    request_hash: bytes
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did: the stream it wrote, and where its last event stands in the log."""

    id: UUID
    version: int
    position: int
    recorded_at: datetime
    replayed: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


class Work:
    """What one attempt at a command reads and changes. Everything read is checked again at commit."""

    def __init__(self, store: Store, context: Context, new_id: Callable[[], UUID]) -> None:
        self._store = store
        self._context = context
        self._new_id = new_id
        self._turn: AbstractAsyncContextManager[None] | None = None
        self.loaded: dict[UUID, Aggregate] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up the turn on the streams that were edited."""
        if self._turn is not None:
            await self._turn.__aexit__(kind, error, trace)

    @property
    def tenant(self) -> UUID:
        """The tenant in whose books this happens."""
        return self._context.tenant

    @property
    def actor(self) -> str:
        """The pseudonym of the user who asks."""
        return self._context.actor

    async def read(self, aggregate_class: type[A], stream_id: UUID) -> A:
        """An aggregate to decide by. It is shared and must not be changed."""
        aggregate = await self._store.load(aggregate_class, stream_id, self.tenant)
        self.loaded.setdefault(stream_id, aggregate)
        return aggregate

    async def edit(self, aggregate_class: type[A], stream_id: UUID) -> A:
        """An aggregate to change, once the turn has come on its stream; for several there is `edit_all`."""
        (aggregate,) = await self.edit_all((aggregate_class, stream_id))
        return aggregate  # type: ignore[return-value]

    async def edit_all(self, *wanted: tuple[type[Aggregate], UUID]) -> list[Aggregate]:
        """Several aggregates to change, in the order asked for; `If-Match` is about the first."""
        if self._turn is not None:
            # Taking turns one by one could deadlock: two commands might each hold what the other wants.
            msg = "edit all streams of a command in one call"
            raise RuntimeError(msg)
        turn = self._store.queue(*(stream_id for _, stream_id in wanted))
        await turn.__aenter__()
        self._turn = turn
        copies = []
        for aggregate_class, stream_id in wanted:
            shared = await self._store.load(aggregate_class, stream_id, self.tenant)
            copies.append(shared.editable_copy())
            self.loaded[stream_id] = copies[-1]
        self._require_expected_version(copies[0])
        return copies

    def new(self, aggregate_class: type[A]) -> A:
        """A blank aggregate under a fresh id; `If-Match` is about it when nothing is edited before."""
        aggregate = aggregate_class.blank(self._new_id())
        self.loaded[aggregate.id] = aggregate
        if self._turn is None:
            self._require_expected_version(aggregate)
        return aggregate

    def _require_expected_version(self, aggregate: Aggregate) -> None:
        expected = self._context.expected_version
        if expected is not None and aggregate.version != expected:
            detail = f"The stream is at version {aggregate.version}, not {expected}."
            raise VersionMismatch(detail, version=aggregate.version)


Handler = Callable[[Any, Work], Awaitable[Aggregate]]


class Bus:
    """Carries out commands by the handlers it was given."""

    def __init__(
        self,
        store: Store,
        handlers: Mapping[type[Command], Handler],
        *,
        new_id: Callable[[], UUID],
        attempts_max: int = 10,
    ) -> None:
        self._store = store
        self._handlers = dict(handlers)
        self._new_id = new_id
        self._attempts_max = attempts_max

    async def execute(self, command: Command, context: Context) -> Answer:
        """Carry out `command` exactly once.

        Raises:
            CommandError: see `commands.errors`.
            DomainError: a rule forbids it; nothing has changed.
            Unavailable: the store cannot be reached; asking again with the same idempotency key tells whether
                the command was stored.
        """
        if not context.permissions.allow(command.permission):
            detail = f"This needs the permission {command.permission}."
            raise NotPermitted(detail, permission=command.permission)
        for attempt in range(self._attempts_max):
            if attempt > 1:
                await asyncio.sleep(random.uniform(0, 0.002 * 2**attempt))  # noqa: S311 - spreads retries, no secret
            answer = await self._attempt(command, context)
            if answer is not None:
                return answer
        detail = f"Others changed the same streams in each of {self._attempts_max} attempts."
        raise ConcurrencyConflict(detail)

    async def _attempt(self, command: Command, context: Context) -> Answer | None:
        """One decision and one append; None when the decision was made on what is no longer true."""
        async with Work(self._store, context, self._new_id) as work:
            try:
                subject = await self._handlers[type(command)](command, work)
            except (DomainError, VersionMismatch):
                earlier = await self._store.find(
                    context.tenant, context.idempotency_key, context.request_hash
                )
                if earlier is not None:
                    return _answer(earlier)
                if await self._is_outdated(work):
                    return None
                raise
            receipt = await self._append(command, context, work, subject)
        return None if receipt.outcome == "conflict" else _answer(receipt)

    async def _append(self, command: Command, context: Context, work: Work, subject: Aggregate) -> Receipt:
        changed = [aggregate for aggregate in work.loaded.values() if aggregate.pending_events]
        reads = [aggregate for aggregate in work.loaded.values() if not aggregate.pending_events]
        return await self._store.append(
            tenant=context.tenant,
            changed=changed,
            reads=reads,
            idempotency_key=context.idempotency_key,
            request_hash=context.request_hash,
            answer={"id": str(subject.id), "version": subject.version},
            metadata=_metadata(command, context),
        )

    async def _is_outdated(self, work: Work) -> bool:
        """Whether something the decision was made on has changed in the log since it was cached."""
        outdated = False
        for stream_id, aggregate in work.loaded.items():
            read_version = aggregate.version - len(aggregate.pending_events)
            current = await self._store.load_current(type(aggregate), stream_id, work.tenant)
            outdated = outdated or current.version != read_version
        return outdated


def _metadata(command: Command, context: Context) -> dict[str, Any]:
    optional = {
        "reason": command.why,
        "causation_id": context.causation_id,
        "traceparent": context.traceparent,
    }
    return {
        "actor": context.actor,
        "command": command.TOPIC,
        "correlation_id": context.correlation_id,
        **{name: value for name, value in optional.items() if value},
    }


def _answer(receipt: Receipt) -> Answer:
    if receipt.outcome == "key_reused":
        detail = "This idempotency key belongs to another request."
        raise IdempotencyKeyReused(detail)
    kept = dict(receipt.answer)
    return Answer(
        id=UUID(kept.pop("id")),
        version=kept.pop("version"),
        position=receipt.position,
        recorded_at=receipt.recorded_at,
        replayed=receipt.outcome == "replayed",
        extra=kept,
    )
