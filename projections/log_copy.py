"""The log copy: the events of the store in one ClickHouse table, which projections are made from.

Rows come in any order and more than once; of those with one position the row inserted last counts, so the
table is read with FINAL. `data` is in today's schema version: upcasters run on the way in.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from eventstore.cloudevents import LogEvent
from eventstore.codec import Codec
from eventstore.leaf import StoredEvent
from eventstore.upcasts import NoUpcast
from projections.clickhouse import ClickHouse
from projections.declaration import TABLE_SETTINGS

NAME: Final = "log"

# In the order of StoredEvent, then the leaf hash.
_TYPES: Final[dict[str, str]] = {
    "position": "UInt64",
    "event_id": "UUID",
    "tenant": "UUID",
    "tenant_seq": "UInt64",
    "stream_id": "UUID",
    "version": "UInt64",
    "schema_version": "UInt32",
    "number": "UInt64",
    "recorded_at": "DateTime64(6, 'UTC')",
    "stream_type": "LowCardinality(String)",
    "type": "LowCardinality(String)",
    "series": "LowCardinality(String)",
    "encoding": "LowCardinality(String)",
    "data": "String",
    "metadata": "String",
    "leaf_hash": "FixedString(32)",
}
COLUMNS: Final = tuple(_TYPES)
LEAF_HEX: Final = "leaf_hex"
"""In the place of `leaf_hash`, for whoever brings it as hexadecimal digits."""

_TABLE: Final = f"""
    CREATE TABLE IF NOT EXISTS {NAME} ({", ".join(f"{name} {kind}" for name, kind in _TYPES.items())}
        DEFAULT unhex({LEAF_HEX}), {LEAF_HEX} String EPHEMERAL)
    ENGINE = ReplacingMergeTree ORDER BY position SETTINGS {TABLE_SETTINGS}"""
# A ClickHouse that was wiped gets another id, whichever server it is.
_INSTANCE_TABLE: Final = "CREATE TABLE IF NOT EXISTS erp_instance (id UUID) ENGINE = MergeTree ORDER BY id"
_INSTANCE: Final = (
    "INSERT INTO erp_instance SELECT generateUUIDv4() WHERE (SELECT count() FROM erp_instance) = 0"
)
# What is in it is gone with each start of the server, as rows of other tables may be after a loss of power.
_SETTLED_TABLE: Final = "CREATE TABLE IF NOT EXISTS erp_settled (at DateTime) ENGINE = Memory"
_SETTLED: Final = "INSERT INTO erp_settled SELECT now() WHERE uptime() >= {uptime:UInt32}"
_TAIL: Final = f"""
    SELECT position, leaf_hash, type FROM {NAME} FINAL
     WHERE position > {{after:UInt64}} ORDER BY position LIMIT {{limit:UInt64}}"""  # noqa: S608 - names of ours


class Whereabouts(NamedTuple):
    """Which ClickHouse answers, and since when: another id or a restart means that rows may be missing."""

    instance: UUID
    uptime_s: int


class TailRow(NamedTuple):
    """What the watermark needs to know of a row."""

    position: int
    leaf_hash: bytes
    type: str


async def prepare(clickhouse: ClickHouse) -> Whereabouts:
    """See that its tables are there."""
    for statement in (_INSTANCE_TABLE, _INSTANCE, _TABLE, _SETTLED_TABLE):
        await clickhouse.command(statement)
    return await whereabouts(clickhouse)


async def say_settled(clickhouse: ClickHouse, uptime_s: int) -> None:
    """Tell whoever asks questions that all tables are what their checkpoints say, of a server that has run
    for so long; nothing is told where it was started again meanwhile.
    """
    await clickhouse.command(_SETTLED, {"uptime": uptime_s})


async def whereabouts(clickhouse: ClickHouse) -> Whereabouts:
    """Which ClickHouse this is.

    Raises:
        StatementFailed: UNKNOWN_TABLE: one that nothing was prepared in.
    """
    # Two that prepared it at once may have left two ids: the smaller one counts.
    ((instance, uptime_s),) = await clickhouse.rows("SELECT min(id), uptime() FROM erp_instance")
    return Whereabouts(instance, uptime_s)


async def write(clickhouse: ClickHouse, events: Iterable[LogEvent], codec: Codec) -> int:
    """Insert events; returns how many. They are there, all of them, when this returns."""
    rows = [row(logged, codec) for logged in events]
    if rows:
        await clickhouse.insert(NAME, COLUMNS, tuple(_TYPES.values()), list(zip(*rows, strict=True)))
    return len(rows)


async def tail(clickhouse: ClickHouse, after: int, limit: int) -> list[TailRow]:
    """The next rows after a position, in order; there may be gaps between them."""
    rows = await clickhouse.rows(_TAIL, {"after": after, "limit": limit})
    return [TailRow(*row) for row in rows]


async def count(clickhouse: ClickHouse, up_to: int) -> int:
    """How many of the positions up to `up_to` are there."""
    ((found,),) = await clickhouse.rows(
        f"SELECT count() FROM (SELECT position FROM {NAME} FINAL WHERE position <= {{up_to:UInt64}})",  # noqa: S608
        {"up_to": up_to},
    )
    return int(found)


async def contiguous(clickhouse: ClickHouse, up_to: int) -> int:
    """The last position, `up_to` at most, up to which none is missing."""
    low, high = 0, up_to
    if await count(clickhouse, high) == high:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if await count(clickhouse, middle) == middle else (low, middle)
    return low


async def last(clickhouse: ClickHouse) -> TailRow | None:
    """Its last row, None when it is empty."""
    rows = await clickhouse.rows(
        f"""SELECT position, leaf_hash, type FROM {NAME} FINAL
             WHERE position >= (SELECT max(position) FROM {NAME})"""  # noqa: S608 - names of ours
    )
    return TailRow(*rows[0]) if rows else None


def as_copied(event: StoredEvent, codec: Codec) -> StoredEvent:
    """The event as the log copy has it: in today's shape, where there is a way to it."""
    try:
        schema_version, data = codec.in_todays_shape(event.type, event.schema_version, event.data)
    except NoUpcast:
        return event  # projections that read it stop before it and say so
    return event._replace(schema_version=schema_version, data=data)


def row(logged: LogEvent, codec: Codec) -> Sequence[Any]:
    """What stands in the columns of the log copy for it."""
    event = as_copied(logged.event, codec)
    return (*event[:7], event.number or 0, *event[8:11], event.series or "", *event[12:], logged.leaf_hash)
