"""Procedures: commands that are carried out as several, with the outside world between them.

    async def capture(command: Capture, context: Context, desk: Desk) -> Answer:
        asked = await desk.execute(RequestCapture(...))
        if (told := await desk.answered("outcome")) is not None:
            return told
        outcome = await gateway.capture(operation, ...)  # may crash, hang or be repeated: same operation
        return await desk.execute(RecordCapture(outcome), "outcome")

Each step is stored under a key of its own, derived from that of the whole. Sent again after a crash, the
procedure runs from the top: steps that were stored answer as they did, and the first that was not is where it
goes on. What lies between two steps may therefore happen more than once, which its receiver has to make
harmless.

The permission is asked for once, that of the whole.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from commands.command import Answer, Command, Context
from commands.ports import Store
from commands.receipts import find_answer
from domain.shared.aggregate import Aggregate

A = TypeVar("A", bound=Aggregate)


class Desk:
    """Where a procedure has its steps carried out."""

    def __init__(
        self, carry_out: Callable[[Command, Context], Awaitable[Answer]], store: Store, context: Context
    ) -> None:
        self._carry_out = carry_out
        self._store = store
        self._context = context

    @property
    def tenant(self) -> UUID:
        """The tenant in whose books this happens."""
        return self._context.tenant

    async def execute(self, command: Command, step: str = "") -> Answer:
        """Carry out one step exactly once: under one name of a step, what was stored first stays.

        The step "" goes under the key of the whole, and `If-Match` is about it.

        Raises:
            DomainError, CommandError, Unavailable: as `Bus.execute` does.
        """
        return await self._carry_out(command, self._of(step))

    async def answered(self, step: str) -> Answer | None:
        """The answer of a step that stored events before, in this run or an earlier one; else None."""
        return await find_answer(self._store, self._of(step))

    def only_at(self, version: int) -> "Desk":
        """The same for a stream that is at this version, as with `If-Match`."""
        return Desk(self._carry_out, self._store, replace(self._context, expected_version=version))

    async def load(self, aggregate_class: type[A], stream_id: UUID) -> A:
        """The aggregate as the log has it now. Shared: it must not be changed."""
        return await self._store.load_current(aggregate_class, stream_id, self.tenant)

    async def seen(self, aggregate_class: type[A], stream_id: UUID) -> A:
        """The aggregate as it was last seen here: as the last step that was carried out here left it, or as
        others have since. Shared: it must not be changed.
        """
        return await self._store.load(aggregate_class, stream_id, self.tenant)

    def _of(self, step: str) -> Context:
        if not step:
            return self._context
        # No client can send a key with a space in it, so none can get in the way of a step.
        key = f"{self._context.idempotency_key} {step}"
        return replace(self._context, idempotency_key=key, expected_version=None)


Procedure = Callable[[Any, Context, Desk], Awaitable[Answer]]
"""Carries out a command as several steps, and returns the answer that is told."""
