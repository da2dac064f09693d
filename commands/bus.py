"""The bus: where every command is authorised, decided, stored exactly once, and retried on conflict.

execute → may the caller? → handler decides on a `Work` → the events are appended, with the versions of all
that was read and the idempotency key, in one transaction → answer. A conflict starts over with fresh state,
at most `attempts_max` times. A refusal is only reported after two questions to the log: was this very command
stored before, and was the decision made on what is still true? The same two are asked when a command finds
everything as it wants it: it is answered with no event, and nothing is kept under its key.

A procedure is a command made of several, see `commands.procedures`.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from commands.command import Answer, Command, Context
from commands.errors import ConcurrencyConflict, NotPermitted, Superseded, VersionMismatch
from commands.ports import Receipt, Store, Vault
from commands.procedures import Desk, Procedure
from commands.receipts import answer_of, find_answer
from commands.work import Clock, Handler, Work
from domain.shared.aggregate import Aggregate
from domain.shared.errors import DomainError

__all__ = ["Answer", "Bus", "Command", "Context", "Desk", "Handler", "Procedure", "Work"]


_NO_PROCEDURES: Final[Mapping[type[Command], Procedure]] = MappingProxyType({})


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Bus:
    """Carries out commands by the handlers it was given."""

    def __init__(
        self,
        store: Store,
        handlers: Mapping[type[Command], Handler],
        procedures: Mapping[type[Command], Procedure] = _NO_PROCEDURES,
        *,
        new_id: Callable[[], UUID],
        clock: Clock = _utc_now,
        vault: Vault | None = None,
        attempts_max: int = 10,
    ) -> None:
        self._store = store
        self._handlers = dict(handlers)
        self._procedures = dict(procedures)
        self._new_id = new_id
        self._clock = clock
        self._vault = vault
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
        procedure = self._procedures.get(type(command))
        if procedure is None:
            return await self._carry_out(command, context)
        return await procedure(command, context, Desk(self._carry_out, self._store, context))

    async def _carry_out(self, command: Command, context: Context) -> Answer:
        """Decide and append until it is done; whoever asks has the permission."""
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
        async with Work(
            self._store, context, new_id=self._new_id, clock=self._clock, vault=self._vault
        ) as work:
            try:
                subject = await self._handlers[type(command)](command, work)
            except (DomainError, VersionMismatch):
                earlier = await find_answer(self._store, context)
                if earlier is not None:
                    return earlier
                if await self._is_outdated(work):
                    return None
                raise
            if not any(aggregate.pending_events for aggregate in work.loaded.values()):
                return await self._unchanged(context, work, subject)
            receipt = await self._append(command, context, work, subject)
        if receipt.outcome != "conflict":
            return answer_of(receipt)
        await self._require_led(context)
        return None

    async def _unchanged(self, context: Context, work: Work, subject: Aggregate) -> Answer | None:
        """The answer of whoever made it so; None when that is no longer true."""
        earlier = await find_answer(self._store, context)
        if earlier is not None:
            return earlier
        if await self._is_outdated(work):
            return None
        position, recorded_at = await self._store.place(subject, work.tenant)
        return Answer(subject.id, subject.version, position, recorded_at, replayed=True)

    async def _append(self, command: Command, context: Context, work: Work, subject: Aggregate) -> Receipt:
        changed = [aggregate for aggregate in work.loaded.values() if aggregate.pending_events]
        reads = [aggregate for aggregate in work.loaded.values() if not aggregate.pending_events]
        if context.led_by is not None:
            reads.append(context.led_by)
        return await self._store.append(
            tenant=context.tenant,
            changed=changed,
            reads=reads,
            idempotency_key=context.idempotency_key,
            request_hash=context.request_hash,
            answer={"id": str(subject.id), "version": subject.version, **work.told},
            metadata=_metadata(command, context),
        )

    async def _require_led(self, context: Context) -> None:
        led_by = context.led_by
        if led_by is not None and await self._has_moved(led_by, context.tenant):
            detail = f"{led_by.TOPIC} {led_by.id} has moved on."
            raise Superseded(detail)

    async def _is_outdated(self, work: Work) -> bool:
        """Whether something the decision was made on has changed in the log since it was cached."""
        outdated = False
        for aggregate in work.loaded.values():
            outdated = await self._has_moved(aggregate, work.tenant) or outdated
        return outdated

    async def _has_moved(self, aggregate: Aggregate, tenant: UUID) -> bool:
        current = await self._store.load_current(type(aggregate), aggregate.id, tenant)
        return current.version != aggregate.version - len(aggregate.pending_events)


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
