"""What is handed to the append function and what it answers.

Pure values, shared by both shells over the function.

A request names the streams it writes or only read, each with the version its decision was made on, the
events to append, and its idempotency key. Positions, `tenant_seq`, numbers, `recorded_at` and leaf hashes
are assigned by the database, under its lock, so a request never goes stale because of what others append
elsewhere.
"""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import orjson

APPEND: Final = "SELECT erp.append_events(%s::jsonb)"

ABSENT_BEFORE_ZERO: Final = -1
"""The expected version of an absent stream whose first event has version 0, as `eventsourcing` allows."""

_NO_ANSWER: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_INSTANT: Final = datetime.min.replace(tzinfo=UTC)


class NewEvent(NamedTuple):
    """An event to append. `series` asks for the next number of that series; `data` is kept verbatim."""

    event_id: UUID
    stream_type: str
    stream_id: UUID
    version: int
    type: str
    schema_version: int
    series: str | None
    encoding: str
    data: bytes


class Check(NamedTuple):
    """The demand that a stream is at `version`: 0 when it must be absent."""

    stream_id: UUID
    stream_type: str
    version: int


class AppendRequest(NamedTuple):
    """One command's events, stored all or none.

    Attributes:
        checks: every stream written or read, with the version the decision was made on.
        answer: kept with the key and given again when the same request comes again.
    """

    tenant: UUID
    idempotency_key: str
    request_hash: bytes
    answer: Mapping[str, Any]
    metadata: bytes
    checks: tuple[Check, ...]
    events: tuple[NewEvent, ...]


class AppendReceipt(NamedTuple):
    """How a request ended; see `commands.ports.Receipt`. `tenant_seq` is that of the last event appended."""

    outcome: Literal["appended", "replayed", "key_reused", "conflict"]
    position: int = 0
    tenant_seq: int = 0
    recorded_at: datetime = _NO_INSTANT
    answer: Mapping[str, Any] = _NO_ANSWER


class Batch:
    """Requests that do not depend on one another: the database judges them all against the same state."""

    def __init__(self) -> None:
        self.data_bytes = 0
        self._written: set[UUID] = set()
        self._checked: set[UUID] = set()
        self._keys: set[tuple[UUID, str]] = set()

    def add(self, request: AppendRequest) -> bool:
        """Take the request, unless it must wait for one that is in the batch; say whether it was taken."""
        written = {event.stream_id for event in request.events}
        checked = {check.stream_id for check in request.checks}
        key = (request.tenant, request.idempotency_key)
        if (
            key in self._keys
            or not written.isdisjoint(self._checked)
            or not checked.isdisjoint(self._written)
        ):
            return False
        self.data_bytes += sum(len(event.data) for event in request.events)
        self._written |= written
        self._checked |= checked
        self._keys.add(key)
        return True


def pack(requests: Sequence[AppendRequest]) -> bytes:
    """The one parameter of `erp.append_events`, as JSON.

    Checks that several requests make alike are sent once.
    """
    numbers: dict[tuple[UUID, Check], int] = {}
    packed_requests = []
    packed_events: list[dict[str, Any]] = []
    for r, request in enumerate(requests):
        if not request.events:
            # The database answers by what it stored: this would read as a conflict.
            detail = "a request with no events stores nothing"
            raise ValueError(detail)
        tenant = request.tenant
        checks = [numbers.setdefault((tenant, check), len(numbers)) for check in request.checks]
        packed_requests.append(
            {
                "r": r,
                "tenant": tenant,
                "key": request.idempotency_key,
                "hash": _base64(request.request_hash),
                "answer": orjson.dumps(request.answer).decode(),
                "metadata": _base64(request.metadata),
                "checks": checks,
            }
        )
        checked = dict(
            zip(((check.stream_id, check.stream_type) for check in request.checks), checks, strict=True)
        )
        for event in request.events:
            c = checked.get((event.stream_id, event.stream_type))
            packed_events.append(_packed_event(r, len(packed_events), c, event))
    packed_checks = [
        {
            "c": c,
            "tenant": tenant,
            "stream": check.stream_id,
            "stream_type": check.stream_type,
            "version": check.version,
        }
        for (tenant, check), c in numbers.items()
    ]
    return orjson.dumps({"requests": packed_requests, "checks": packed_checks, "events": packed_events})


def unpack(requests: Sequence[AppendRequest], answer: str) -> list[AppendReceipt]:
    """One receipt a request, in their order, from what `erp.append_events` returned."""
    told = {row["r"]: row for row in orjson.loads(answer)}
    return [_receipt(request, told.get(r)) for r, request in enumerate(requests)]


def _packed_event(r: int, n: int, c: int | None, event: NewEvent) -> dict[str, Any]:
    """The event, its stream told by the check of it; the database refuses one whose stream is not checked."""
    return {
        "r": r,
        "n": n,
        "c": c,
        "id": event.event_id,
        "version": event.version,
        "type": event.type,
        "schema_version": event.schema_version,
        "series": event.series,
        "encoding": event.encoding,
        "data": _base64(event.data),
    }


def _receipt(request: AppendRequest, row: Mapping[str, Any] | None) -> AppendReceipt:
    if row is None:
        return AppendReceipt("conflict")
    return AppendReceipt(
        outcome=row["outcome"],
        position=row["position"],
        tenant_seq=row.get("tenant_seq", 0),
        recorded_at=datetime.fromisoformat(row["recorded_at"]).astimezone(UTC),
        answer=orjson.loads(row["answer"]) if "answer" in row else request.answer,
    )


def _base64(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode()
