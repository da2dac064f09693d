"""What a range of positions holds, in a few bytes: so the store and the log copy are held against each other
without moving the events.

In the store the leaf hash of a row says what all its columns are (whether they are, `erp verify` proves). In
ClickHouse the same hash is made anew from the columns of the log copy. An event that passed an upcaster has
another schema version and other data there: its hash is made from the event as upcast.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, NamedTuple

from eventstore.codec import Codec
from eventstore.leaf import StoredEvent, leaf_hash
from eventstore.refusal import Refusal
from projections import log_copy
from projections.checkpoints import Connection
from projections.clickhouse import ClickHouse

RANGE_EVENTS: Final = 16_384
_HASH_BYTES: Final = 32
_MICROSECONDS_TO_2000: Final = 946_684_800_000_000


class Range(NamedTuple):
    """The positions after `after`, up to `up_to`."""

    after: int
    up_to: int

    def __str__(self) -> str:
        return f"positions {self.after + 1:,} to {self.up_to:,}"


class Rows(NamedTuple):
    """What is in a range: of each row the hash of its columns, and the leaf hash that stands in it.

    Attributes:
        positions: in order.
    """

    positions: list[int]
    columns: list[bytes]
    leaf_hashes: list[bytes]


class Digest(NamedTuple):
    """The same in few bytes."""

    events: int
    columns: bytes
    leaf_hashes: bytes


def ranges(after: int, up_to: int) -> Iterator[Range]:
    """The stretch, cut at whole multiples of `RANGE_EVENTS`."""
    while after < up_to:
        end = min(up_to, after - after % RANGE_EVENTS + RANGE_EVENTS)
        yield Range(after, end)
        after = end


# The layout is that of docs/reference/leaf-hash.md.
def _big_endian(value: str, kind: str) -> str:
    return f"reverse(reinterpretAsFixedString(to{kind}({value})))"


_COLUMNS_HASH: Final = f"""
    SHA256(concat(unhex('0001'), {_big_endian("position", "Int64")}, UUIDToNum(event_id), UUIDToNum(tenant),
        {_big_endian("tenant_seq", "Int64")}, UUIDToNum(stream_id), {_big_endian("version", "Int64")},
        {_big_endian("schema_version", "Int32")}, {_big_endian("number", "Int64")},
        {_big_endian(f"toUnixTimestamp64Micro(recorded_at) - {_MICROSECONDS_TO_2000}", "Int64")},
        SHA256(concat(stream_type, '\\0', type, '\\0', series, '\\0', encoding)),
        SHA256(data), SHA256(metadata)))"""
_IN_LOG_COPY: Final = f"""
    SELECT position, {_COLUMNS_HASH} AS columns_hash, leaf_hash FROM {log_copy.NAME} FINAL
     WHERE position > {{after:UInt64}} AND position <= {{up_to:UInt64}} ORDER BY position"""  # noqa: S608 - names of ours
# In digits, for joining takes zeros off the ends of byte strings; sorted, for an aggregate need not keep the
# order that its rows come in.
_DIGEST_OF_LOG_COPY: Final = f"""
    WITH arraySort(groupArray((position, hex(columns_hash), hex(leaf_hash)))) AS sorted
    SELECT count(), SHA256(arrayStringConcat(sorted.2)), SHA256(arrayStringConcat(sorted.3))
      FROM ({_IN_LOG_COPY})"""  # noqa: S608 - names of ours
_IN_STORE: Final = """
    SELECT count(*), coalesce(string_agg(leaf_hash, ''::bytea ORDER BY position), ''),
           array_agg(position ORDER BY position)
               FILTER (WHERE schema_version <> (%(versions)s::jsonb ->> type)::int)
      FROM erp.events WHERE position > %(after)s AND position <= %(up_to)s"""
_OUTDATED: Final = f"""
    SELECT {", ".join(StoredEvent._fields)} FROM erp.events WHERE position = ANY (%s)"""  # noqa: S608 - names of ours


class StoreShortened(Refusal):
    """The store has not got all the events that it should have."""


async def rows_of_store(connection: Connection, codec: Codec, within: Range) -> Rows:
    """What the log copy should have there.

    Raises:
        StoreShortened: the range is not whole in the store.
    """
    cursor = connection.cursor(binary=True)
    parameters: dict[str, Any] = {**within._asdict(), "versions": json.dumps(codec.schema_versions)}
    await cursor.execute(_IN_STORE, parameters, prepare=True)
    row = await cursor.fetchone()
    assert row is not None, "an aggregate"
    count, joined, outdated = row
    if count != within.up_to - within.after:
        raise StoreShortened(f"the log has gaps within {within}: run `erp verify`")
    leaves = [joined[at : at + _HASH_BYTES] for at in range(0, len(joined), _HASH_BYTES)]
    columns = list(leaves)
    if outdated:
        await cursor.execute(_OUTDATED, [outdated])
        for fields in await cursor.fetchall():
            event = log_copy.as_copied(StoredEvent(*fields), codec)
            columns[event.position - within.after - 1] = leaf_hash(event)
    return Rows(list(range(within.after + 1, within.up_to + 1)), columns, leaves)


async def rows_of_log_copy(clickhouse: ClickHouse, within: Range) -> Rows:
    """What the log copy has there."""
    rows = await clickhouse.rows(_IN_LOG_COPY, within._asdict())
    return Rows(*(list(column) for column in zip(*rows, strict=True))) if rows else Rows([], [], [])


async def digest_of_store(connection: Connection, codec: Codec, within: Range) -> Digest:
    """`rows_of_store` in few bytes.

    Raises:
        StoreShortened: as there.
    """
    rows = await rows_of_store(connection, codec, within)
    return Digest(len(rows.positions), _joined(rows.columns), _joined(rows.leaf_hashes))


async def digest_of_log_copy(clickhouse: ClickHouse, within: Range) -> Digest:
    """`rows_of_log_copy` in few bytes."""
    ((count, columns, leaf_hashes),) = await clickhouse.rows(_DIGEST_OF_LOG_COPY, within._asdict())
    return Digest(count, columns, leaf_hashes)


def _joined(hashes: list[bytes]) -> bytes:
    return sha256(b"".join(hashes).hex().upper().encode()).digest()
