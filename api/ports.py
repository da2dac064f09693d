"""What the HTTP layer needs of the outside, as Protocols; `erp` provides it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

from commands.bus import Answer, Command, Context
from domain.shared.aggregate import Aggregate
from eventstore.cloudevents import LogEvent

A = TypeVar("A", bound=Aggregate)

Check = Callable[[], Awaitable[object]]
"""Asks a dependency for a sign of life; raises when there is none."""
Checks = Mapping[str, Check]
Lifespan = Callable[[], AbstractAsyncContextManager[object]]


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


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Limits of the HTTP layer.

    Attributes:
        in_flight_max: requests worked on at once, above which the answer is 429.
        bulk_window: commands of one bulk request in flight at once.
        body_bytes_max: size of a body, above which the answer is 413.
        event_streams_max: streams of events open at once, above which the answer is 429.
        check_timeout_s: how long a dependency may take to give a sign of life.
    """

    version: str = "0.0.0"
    in_flight_max: int = 1024
    bulk_window: int = 256
    body_bytes_max: int = 10 * 1024 * 1024
    event_streams_max: int = 256
    check_timeout_s: float = 2.0
