"""What the command side needs of the outside, as Protocols; `eventstore` provides it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

from domain.shared.aggregate import Aggregate
from domain.shared.personal import Personal

A = TypeVar("A", bound=Aggregate)

Outcome = Literal["appended", "replayed", "key_reused", "conflict"]


class Receipt(Protocol):
    """How an append ended.

    `appended`: the events are stored. `replayed`: the idempotency key was there already with the same
    request, and the fields tell the first answer. `key_reused`: it was there with another request.
    `conflict`: a stream is no longer at the version that the decision was made on. Only the first two carry
    an answer.
    """

    @property
    def outcome(self) -> Outcome:
        """Which of the four it was."""

    @property
    def position(self) -> int:
        """Global position of the last event."""

    @property
    def recorded_at(self) -> datetime:
        """When the last event was recorded, UTC."""

    @property
    def answer(self) -> Mapping[str, Any]:
        """What was handed over as `answer` with the append that was stored."""


class Vault(Protocol):
    """Seals personal data.

    Raises `domain.shared.errors.Unavailable` when the keys cannot be reached in time.
    """

    async def seal(self, tenant: UUID, subject: str, value: Mapping[str, str]) -> Personal[Any]:
        """`value`, readable for as long as the subject's key is there."""

    async def open(self, tenant: UUID, personal: Personal[Any]) -> Mapping[str, str] | None:
        """What was sealed; None when its key is gone."""


class Store(Protocol):
    """The event store, as command handling sees it.

    Every method raises `domain.shared.errors.Unavailable` when the database cannot be reached in time.
    """

    async def load(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        """The aggregate from the cache or the log, blank when it has no events.

        Shared: it must not be changed.
        """

    async def load_current(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        """The aggregate as the log has it now. Shared: it must not be changed."""

    async def history(
        self, aggregate_class: type[Aggregate], stream_id: UUID, tenant: UUID, up_to_version: int
    ) -> list[Aggregate.Event]:
        """The stream's events up to this version, in order."""

    async def place(self, aggregate: Aggregate, tenant: UUID) -> tuple[int, datetime]:
        """Where the last recorded event of `aggregate` stands in the log, and when it was recorded, UTC."""

    def queue(self, *stream_ids: UUID) -> AbstractAsyncContextManager[None]:
        """The turn to load, decide and append on these streams in this process."""

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
    ) -> Receipt:
        """Store the pending events of `changed`, all or nothing, if nothing read or changed has moved on."""

    async def find(self, tenant: UUID, idempotency_key: str, request_hash: bytes) -> Receipt | None:
        """`replayed` or `key_reused` when a command was stored under this key, else None."""
