"""What is asked of the bus, by whom, and what it answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from commands.permissions import Permissions
from domain.shared.aggregate import Aggregate


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
        led_by: what decided on the command: once it has moved on, nothing new is stored.
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
    led_by: Aggregate | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did: the stream it wrote, and where its last event stands in the log."""

    id: UUID
    version: int
    position: int
    recorded_at: datetime
    replayed: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
