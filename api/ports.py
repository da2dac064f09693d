"""What the HTTP layer needs of the outside, as Protocols; `erp` provides it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from commands.bus import Answer, Command, Context
from domain.shared.aggregate import Aggregate
from eventstore.cloudevents import LogEvent
from projections.declaration import ProjectionQuery
from projections.reading import Answered, Lag

A = TypeVar("A", bound=Aggregate)

Lifespan = Callable[[], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True)
class Check:
    """A dependency, and how it is asked for a sign of life.

    Attributes:
        ask: returns when there is one; raises when there is none.
        required: nothing can be done without it; else commands are taken all the same.
    """

    ask: Callable[[], Awaitable[object]]
    required: bool = True


Checks = Mapping[str, Check]


class CommandBus(Protocol):
    """Carries out commands; see `commands.bus.Bus`."""

    async def execute(self, command: Command, context: Context) -> Answer:
        """Carry out `command` exactly once."""


class Store(Protocol):
    """The event store, as queries see it; `Unavailable` when it cannot be reached in time."""

    async def load_current(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        """The aggregate as the log has it now. Shared: it must not be changed."""

    async def register_page(
        self, tenant: UUID, *, series: str, after_number: int, limit: int
    ) -> Sequence[tuple[int, UUID]]:
        """Numbers and streams of a series, in order of number: at most `limit`, above `after_number`."""

    @property
    def event_types(self) -> Collection[str]:
        """The names of all events that there can be."""

    async def head(self) -> int:
        """The last position of all."""

    async def tenant_heads(self, tenants: Collection[UUID]) -> Mapping[UUID, int]:
        """The last `tenant_seq` of each of these tenants; those without an event may be left out."""

    async def tenant_seq_at(self, tenant: UUID, position: int) -> int:
        """The `tenant_seq` of the tenant's last event at or before `position`; 0 when there is none."""

    async def tenant_events(
        self, tenant: UUID, after_seq: int, up_to_seq: int, *, types: Sequence[str] | None, bytes_max: int
    ) -> Sequence[LogEvent]:
        """The tenant's events in `(after_seq, up_to_seq]`, of these types, in commit order.

        As many as are begun within `bytes_max` bytes of data and metadata: at least one where there is one.
        """


class ReadSide(Protocol):
    """The read side, as reports see it; see `projections.reading.ReadSide`."""

    async def ask(
        self,
        query: ProjectionQuery,
        tenant: UUID,
        *,
        min_position: int = 0,
        known_at: datetime | None = None,
        wait_s: float = 0,
        **parameters: Any,
    ) -> Answered:
        """The answer for the tenant, from what stands at `min_position` at least, or just at `known_at`."""

    async def lags(self) -> Sequence[Lag]:
        """How far each projection is, and the log copy."""

    def drain(self) -> None:
        """Answer without waiting from now on, and end the waits that go on."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the HTTP layer goes by: its limits, for the most part.

    Attributes:
        in_flight_max: requests worked on at once, above which the answer is 429.
        bulk_window: commands of one bulk request in flight at once.
        body_bytes_max: size of a body, above which the answer is 413.
        event_streams_max: streams of events open at once, above which the answer is 429.
        check_timeout_s: how long a dependency may take to give a sign of life.
        stripe_webhook_secret: what Stripe signs its messages with; without it none are taken.
    """

    version: str = "0.0.0"
    in_flight_max: int = 1024
    bulk_window: int = 256
    body_bytes_max: int = 10 * 1024 * 1024
    event_streams_max: int = 256
    check_timeout_s: float = 2.0
    stripe_webhook_secret: str = field(default="", repr=False)
