"""What one attempt at a command stands on: what it reads and changes, and the hour at which it does."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from commands.command import Context
from commands.errors import VersionMismatch
from commands.ports import Store, Vault
from domain.shared.aggregate import Aggregate
from domain.shared.personal import Personal

A = TypeVar("A", bound=Aggregate)

Clock = Callable[[], datetime]
"""Tells the time, in UTC."""


class Work:
    """What one attempt at a command reads and changes. Everything read is checked again at commit."""

    def __init__(
        self,
        store: Store,
        context: Context,
        *,
        new_id: Callable[[], UUID],
        clock: Clock,
        vault: Vault | None = None,
    ) -> None:
        self._store = store
        self._context = context
        self._new_id = new_id
        self._clock = clock
        self._vault = vault
        self._turn: AbstractAsyncContextManager[None] | None = None
        self.loaded: dict[UUID, Aggregate] = {}
        self.told: dict[str, Any] = {}
        """What the answer says besides the stream and its version; values have a JSON form."""

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

    @cached_property
    def now(self) -> datetime:
        """The instant of this attempt, in UTC: the same whenever it is asked for."""
        return self._clock()

    @property
    def today(self) -> date:
        """The day of that instant, in UTC."""
        return self.now.astimezone(UTC).date()

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

    def new_id(self) -> UUID:
        """An id that nothing has yet."""
        return self._new_id()

    def new(self, aggregate_class: type[A]) -> A:
        """A blank aggregate under a fresh id; `If-Match` is about it when nothing is edited before."""
        aggregate = aggregate_class.blank(self._new_id())
        self.loaded[aggregate.id] = aggregate
        if self._turn is None:
            self._require_expected_version(aggregate)
        return aggregate

    async def history(self, aggregate: Aggregate) -> list[Aggregate.Event]:
        """The recorded events of an aggregate that was read or edited here, in order.

        All of them are read from the log. Those that this attempt has made are not among them.
        """
        recorded = aggregate.version - len(aggregate.pending_events)
        return await self._store.history(type(aggregate), aggregate.id, self.tenant, recorded)

    async def seal(self, subject: str, value: Mapping[str, str]) -> Personal[Any]:
        """Personal data about `subject`, a pseudonym, as it may stand in an event: sealed under their key."""
        if self._vault is None:
            msg = "this bus was given no vault"
            raise RuntimeError(msg)
        return await self._vault.seal(self.tenant, subject, value)

    def _require_expected_version(self, aggregate: Aggregate) -> None:
        expected = self._context.expected_version
        if expected is not None and aggregate.version != expected:
            detail = f"The stream is at version {aggregate.version}, not {expected}."
            raise VersionMismatch(detail, version=aggregate.version)


Handler = Callable[[Any, Work], Awaitable[Aggregate]]
"""Carries out a command on its `Work`, and returns the aggregate that the answer is about."""
