"""Commands that are carried out once, however often the file is imported."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from pydantic import ValidationError

from commands.bus import Answer, Command
from commands.errors import CommandError
from domain.shared.aggregate import Aggregate
from domain.shared.errors import DomainError
from erp.operator import Operator
from eventstore.store import EventStore

A = TypeVar("A", bound=Aggregate)
X = TypeVar("X")
T = TypeVar("T")


class NotPossible(Exception):
    """Something was refused, and with it the lines that it was to bring into the books."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Carrier:
    """Carries out commands in the books of one tenant."""

    def __init__(self, operator: Operator, store: EventStore, tenant: UUID) -> None:
        self._operator = operator
        self._store = store
        self.tenant = tenant
        self.changes = 0
        """How many commands were new."""

    async def do(self, kind: type[Command], what: str, **fields: Any) -> Answer:
        """Carry out the command. `what` tells it from all others; done before, it is answered as then.

        Raises:
            NotPossible: it is refused.
            Unavailable: the store went away.
        """
        try:
            answer = await self._operator.execute(kind.model_validate(fields), idempotency_key=_key(what))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "/".join(str(part) for part in first["loc"])
            raise NotPossible("invalid", f"{where}: {first['msg']}") from None
        except (DomainError, CommandError) as error:
            raise NotPossible(error.code, error.detail) from None
        self.changes += not answer.replayed
        return answer

    async def is_done(self, what: str) -> bool:
        """Whether something was carried out under that name, by whatever numbers."""
        return await self._store.find(self.tenant, _key(what), b"") is not None

    async def look(self, kind: type[A], stream_id: UUID) -> A:
        """The aggregate as it is now."""
        return await self._store.load_current(kind, stream_id, self.tenant)


async def for_all(items: Iterable[X], do: Callable[[X], Awaitable[T]], *, at_once: int) -> list[T]:
    """What `do` returns for each, so many being under way at a time. What it raises ends all of them."""
    room = asyncio.Semaphore(at_once)

    async def one(item: X) -> T:
        async with room:
            return await do(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        # Waited for before the store is closed under them; what became of them, the next import will see.
        await asyncio.gather(*tasks, return_exceptions=True)


def _key(what: str) -> str:
    return f"import/orders/{what}"
