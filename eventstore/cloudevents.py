"""Stored events as CloudEvents 1.0 in JSON, one by one or as a batch, and back.

The data of an event stands in it byte for byte as it was stored. What the spec's 32-bit Integer cannot hold
is written as a String of decimal digits. The format is published in docs/reference/messages.md.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import orjson
from msgspec import UNSET, Raw, Struct, UnsetType

from eventstore.leaf import StoredEvent

BATCH_CONTENT_TYPE: Final = "application/cloudevents-batch+json; charset=UTF-8"
TYPE_PREFIX: Final = "com.killer-erp."
JSON_ENCODING: Final = "json"
_POSITION_MAX: Final = 2**63 - 1


class LogEvent(NamedTuple):
    """An event as the log has it: its columns, its leaf hash."""

    event: StoredEvent
    leaf_hash: bytes


class Published(NamedTuple):
    """An event out of a message."""

    event: StoredEvent
    leaf_hash: bytes
    previous: int
    """The last position before it in its partition, 0 for the first there."""
    is_whole: bool
    """Whether data and metadata came along; else they are empty here, and must be fetched by position."""


class _CloudEvent(Struct, omit_defaults=True, kw_only=True):
    """The attributes of a message's event, under their names on the wire."""

    specversion: str
    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str
    position: str
    prev: str = ""
    tenant: UUID
    tenantseq: str
    streamtype: str
    streamid: UUID
    version: str
    schemaversion: int
    series: str = ""
    number: str = ""
    recordedat: datetime
    encoding: str
    leafhash: bytes
    dataref: str = ""
    metadata: str | UnsetType = UNSET
    metadatabytes: bytes | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    data_base64: bytes | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_CloudEvent]).decode


def event_json(logged: LogEvent, previous: int | None = None, *, whole: bool = True) -> bytes:
    """The event in the JSON format; unless `whole`, with a `dataref` in the place of data and metadata."""
    event = logged.event
    is_json = event.encoding == JSON_ENCODING
    envelope = _CloudEvent(
        specversion="1.0",
        id=event.event_id,
        source=f"/tenants/{event.tenant}",
        type=f"{TYPE_PREFIX}{event.type}.v{event.schema_version}",
        subject=f"{event.stream_type}/{event.stream_id}",
        time=event.recorded_at,
        datacontenttype="application/json" if is_json else "application/octet-stream",
        position=str(event.position),
        tenant=event.tenant,
        tenantseq=str(event.tenant_seq),
        streamtype=event.stream_type,
        streamid=event.stream_id,
        version=str(event.version),
        schemaversion=event.schema_version,
        recordedat=event.recorded_at,
        encoding=event.encoding,
        leafhash=logged.leaf_hash,
    )
    if previous is not None:
        envelope.prev = str(previous)
    if event.series is not None:
        envelope.series, envelope.number = event.series, str(event.number)
    if whole:
        _put_bytes(envelope, event, is_json=is_json)
    else:
        envelope.dataref = f"/v1/audit/events?after={event.position - 1}&limit=1"
    return _encode(envelope)


def _put_bytes(envelope: _CloudEvent, event: StoredEvent, *, is_json: bool) -> None:
    if is_json and _is_json(event.data):
        envelope.data = Raw(event.data)
    else:
        envelope.data_base64 = event.data
    try:
        envelope.metadata = event.metadata.decode()
    except UnicodeDecodeError:
        envelope.metadatabytes = event.metadata


def _is_json(data: bytes) -> bool:
    """Whether it may stand in a message: one event that only claims to be JSON would spoil all the others."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def batch(events: Iterable[bytes]) -> bytes:
    """The JSON batch format of these events."""
    return b"[" + b",".join(events) + b"]"


def decode_batch(value: bytes) -> list[Published]:
    """The events of a message.

    Raises:
        ValueError: it is not a message of the relay.
    """
    return [_published(envelope) for envelope in _decode(value)]


def _published(envelope: _CloudEvent) -> Published:
    is_whole = not envelope.dataref
    position = int(envelope.position)
    # Asked for one that is no bigint, Postgres would go through the whole log.
    if not 0 < position <= _POSITION_MAX:
        raise ValueError(f"there is no position {position}")
    event = StoredEvent(
        position=position,
        event_id=envelope.id,
        tenant=envelope.tenant,
        tenant_seq=int(envelope.tenantseq),
        stream_id=envelope.streamid,
        version=int(envelope.version),
        schema_version=envelope.schemaversion,
        number=int(envelope.number) if envelope.number else None,
        recorded_at=envelope.recordedat,
        stream_type=envelope.streamtype,
        type=envelope.type.removeprefix(TYPE_PREFIX).removesuffix(f".v{envelope.schemaversion}"),
        series=envelope.series or None,
        encoding=envelope.encoding,
        data=_first(envelope.data, envelope.data_base64),
        metadata=_first(envelope.metadata, envelope.metadatabytes),
    )
    return Published(event, envelope.leafhash, int(envelope.prev or 0), is_whole)


def _first(*values: "Raw | str | bytes | UnsetType") -> bytes:
    """The one that was sent, as bytes; empty when none was."""
    for value in values:
        if not isinstance(value, UnsetType):
            return value.encode() if isinstance(value, str) else bytes(value)
    return b""
