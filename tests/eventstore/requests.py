"""Requests made by hand, for what the store's own interface does not let happen."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import psycopg

from eventstore.request import APPEND, AppendReceipt, AppendRequest, Check, NewEvent, pack, unpack

STREAM_TYPE = "test.raw"


def new_event(
    stream: UUID,
    version: int,
    *,
    series: str | None = None,
    data: bytes = b"{}",
    stream_type: str = STREAM_TYPE,
    event_type: str = "test.raw.happened",
    schema_version: int = 1,
) -> NewEvent:
    """An event as the database takes it."""
    return NewEvent(
        event_id=uuid4(),
        stream_type=stream_type,
        stream_id=stream,
        version=version,
        type=event_type,
        schema_version=schema_version,
        series=series,
        encoding="json",
        data=data,
    )


def new_request(
    tenant: UUID,
    *events: NewEvent,
    reads: Sequence[Check] = (),
    checks: Sequence[Check] | None = None,
    key: str | None = None,
) -> AppendRequest:
    """A request for these events, with the checks that belong to them unless others are given."""
    if checks is None:
        first = {event.stream_id: event.version for event in reversed(events)}
        checks = [Check(stream, STREAM_TYPE, version - 1) for stream, version in first.items()]
    return AppendRequest(
        tenant=tenant,
        idempotency_key=key or str(uuid4()),
        request_hash=b"request",
        answer={"made": "by hand"},
        metadata=b'{"actor":"tester"}',
        checks=(*checks, *reads),
        events=events,
    )


def one_event(tenant: UUID, *, series: str | None = None, key: str | None = None) -> AppendRequest:
    """A request for the first event of a new stream."""
    return new_request(tenant, new_event(uuid4(), 1, series=series), key=key)


def call(connection: psycopg.Connection[Any], *requests: AppendRequest) -> list[AppendReceipt]:
    """Hand the requests to the append function, as one batch."""
    row = connection.execute(APPEND, [pack(requests).decode()]).fetchone()
    assert row is not None
    return unpack(requests, row[0])
