"""The leaf hash of an event, as anyone can recompute it from the columns.

`erp.leaf_hash` does the same in the database.

Layout: docs/reference/leaf-hash.md. The 0x00 in front is the leaf prefix of RFC 9162, section 2.1.1.
"""

import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

# Postgres counts its microseconds from here.
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HEADER: Final = struct.Struct(">BBq16s16sq16sqiqq")
_LEAF_PREFIX: Final = 0
_LAYOUT: Final = 1


class StoredEvent(NamedTuple):
    """A row of `erp.events`, without its leaf hash."""

    position: int
    event_id: UUID
    tenant: UUID
    tenant_seq: int
    stream_id: UUID
    version: int
    schema_version: int
    number: int | None
    recorded_at: datetime
    stream_type: str
    type: str
    series: str | None
    encoding: str
    data: bytes
    metadata: bytes


def leaf_hash(event: StoredEvent) -> bytes:
    """32 bytes that change when any column of the event does."""
    header = _HEADER.pack(
        _LEAF_PREFIX,
        _LAYOUT,
        event.position,
        event.event_id.bytes,
        event.tenant.bytes,
        event.tenant_seq,
        event.stream_id.bytes,
        event.version,
        event.schema_version,
        event.number or 0,
        (event.recorded_at - _EPOCH) // _MICROSECOND,
    )
    names = "\0".join((event.stream_type, event.type, event.series or "", event.encoding)).encode()
    digests = sha256(names).digest() + sha256(event.data).digest() + sha256(event.metadata).digest()
    return sha256(header + digests).digest()
