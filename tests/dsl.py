"""Tests that read as history, run through the real bus and a real store.

    await company.given(OpenFiscalYear(...), OpenAccount(...)).when(ClosePeriod(...)).then(
        happened(FiscalCalendar.PeriodClosed, period="2026-01")
    )
    await company.given(...).when(...).refused("finance.period_closed")
    await company.given(...).when(...).repeated()

A step that needs what came before is a function of the last answer:
`.when(lambda last: PostDraft(id=last.id))`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID, uuid4

from commands.bus import Answer, Bus, Command, Context, Handler, Procedure
from commands.errors import CommandError
from commands.permissions import Permissions
from commands.ports import Receipt, Store, Vault
from domain.shared.aggregate import Aggregate, event_data
from domain.shared.errors import DomainError

A = TypeVar("A", bound=Aggregate)

Step = Command | Callable[[Answer], Command]

ALICE = "alice"
BOB = "bob"


@dataclass(frozen=True)
class Happened:
    """An event type and those of its fields that matter."""

    type: type[Aggregate.Event]
    fields: Mapping[str, Any]

    def describes(self, recorded: Aggregate.Event) -> bool:
        actual = event_data(recorded)
        return self.type.TOPIC == recorded.TOPIC and self.fields == {
            name: actual.get(name, ...) for name in self.fields
        }


def happened(event_type: type[Aggregate.Event], **fields: Any) -> Happened:
    """What `then` expects: an event of this type that has at least these fields."""
    return Happened(event_type, fields)


class RecordingStore:
    """A store that also remembers what was appended through it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.recorded: list[Aggregate.Event] = []

    async def load(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        return await self._store.load(aggregate_class, stream_id, tenant)

    async def load_current(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        return await self._store.load_current(aggregate_class, stream_id, tenant)

    async def history(
        self, aggregate_class: type[Aggregate], stream_id: UUID, tenant: UUID, up_to_version: int
    ) -> list[Aggregate.Event]:
        return await self._store.history(aggregate_class, stream_id, tenant, up_to_version)

    async def place(self, aggregate: Aggregate, tenant: UUID) -> tuple[int, datetime]:
        return await self._store.place(aggregate, tenant)

    def queue(self, *stream_ids: UUID) -> AbstractAsyncContextManager[None]:
        return self._store.queue(*stream_ids)

    async def append(self, *, changed: Sequence[Aggregate], **rest: Any) -> Receipt:
        pending: list[Any] = [event for aggregate in changed for event in aggregate.pending_events]
        receipt = await self._store.append(changed=changed, **rest)
        if receipt.outcome == "appended":
            self.recorded += pending
        return receipt

    async def find(self, tenant: UUID, idempotency_key: str, request_hash: bytes) -> Receipt | None:
        return await self._store.find(tenant, idempotency_key, request_hash)


class Company:
    """A tenant whose books a test keeps."""

    def __init__(
        self,
        store: Store,
        handlers: Mapping[type[Command], Handler],
        tenant: UUID,
        procedures: Mapping[type[Command], Procedure] = MappingProxyType({}),
        vault: Vault | None = None,
    ) -> None:
        self.store = RecordingStore(store)
        self.tenant = tenant
        self.now = datetime.now(UTC)
        """The time as the handlers are told it; a test may set it."""
        self._bus = Bus(self.store, handlers, procedures, new_id=uuid4, clock=lambda: self.now, vault=vault)

    def given(self, *history: Step, by: str = ALICE) -> "Scenario":
        """A scenario in which these commands were carried out before."""
        return Scenario(self).given(*history, by=by)

    def when(self, step: Step, **circumstances: Any) -> "Scenario":
        """A scenario that begins with the command in question."""
        return Scenario(self).when(step, **circumstances)

    async def execute(
        self,
        command: Command,
        *,
        by: str = ALICE,
        key: str | None = None,
        permissions: Sequence[str] = ("*",),
        expected_version: int | None = None,
    ) -> Answer:
        """Carry out a command; every permission is there unless told otherwise."""
        context = Context(
            tenant=self.tenant,
            actor=by,
            permissions=Permissions(permissions),
            idempotency_key=key or str(uuid4()),
            request_hash=sha256(f"{command.TOPIC} {command.model_dump_json()}".encode()).digest(),
            correlation_id="test",
            expected_version=expected_version,
        )
        return await self._bus.execute(command, context)

    async def load(self, aggregate_class: type[A], stream_id: UUID) -> A:
        """The aggregate as the log has it."""
        return await self.store.load_current(aggregate_class, stream_id, self.tenant)


@dataclass
class Scenario:
    """Given, when; to be awaited by one of the endings."""

    company: Company
    history: list[tuple[Step, str]] = field(default_factory=list)
    step: Step | None = None
    circumstances: dict[str, Any] = field(default_factory=dict)

    def given(self, *history: Step, by: str = ALICE) -> "Scenario":
        """Add to what was carried out before."""
        self.history += [(step, by) for step in history]
        return self

    def when(self, step: Step, **circumstances: Any) -> "Scenario":
        """The command in question; for the circumstances see `Company.execute`."""
        self.step = step
        self.circumstances = circumstances
        return self

    async def then(self, *expected: Happened) -> Answer:
        """It is carried out, and exactly these events are recorded."""
        command = await self._command()
        answer = await self.company.execute(command, **self.circumstances)
        recorded = self.company.store.recorded
        assert [event.TOPIC for event in recorded] == [event.type.TOPIC for event in expected]
        for wanted, actual in zip(expected, recorded, strict=True):
            assert wanted.describes(actual), f"{actual} is not {wanted}"
        assert not answer.replayed
        return answer

    async def refused(self, code: str) -> DomainError | CommandError:
        """It is refused for this reason, and nothing is recorded."""
        command = await self._command()
        refusal: DomainError | CommandError | None = None
        try:
            await self.company.execute(command, **self.circumstances)
        except (DomainError, CommandError) as error:
            refusal = error
        assert refusal is not None, f"{command.TOPIC} was not refused"
        assert refusal.code == code, refusal.detail
        assert self.company.store.recorded == []
        return refusal

    async def repeated(self) -> Answer:
        """It is carried out once, and a repeat under the same key is given the first answer again."""
        command = await self._command()
        circumstances = {**self.circumstances, "key": str(uuid4())}
        first = await self.company.execute(command, **circumstances)
        recorded = list(self.company.store.recorded)
        again = await self.company.execute(command, **circumstances)
        assert recorded
        assert self.company.store.recorded == recorded
        assert again.replayed
        assert (again.id, again.version, again.position, again.recorded_at) == (
            first.id,
            first.version,
            first.position,
            first.recorded_at,
        )
        return again

    async def _command(self) -> Command:
        """The command in question, after the history was carried out."""
        answer: Any = None
        for step, by in self.history:
            answer = await self.company.execute(_resolved(step, answer), by=by)
        self.company.store.recorded.clear()
        assert self.step is not None, "a scenario needs a `when`"
        return _resolved(self.step, answer)


def _resolved(step: Step, last: Answer) -> Command:
    return step if isinstance(step, Command) else step(last)
