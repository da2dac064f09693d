"""Proves, from the rows alone, that the log is what the append function wrote: `erp verify`.

Checked are every leaf hash, the density of positions, of each tenant's sequence, of each stream's versions
and of each number series, that `recorded_at` grows, and that every snapshot is what replaying its stream
gives. A log that was cut off at its end is given away by the commands that were answered with what is gone;
where those were removed too it looks whole from inside, and only tree heads signed and kept elsewhere tell.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import psycopg

from domain.shared.aggregate import Aggregate
from eventstore.codec import FIELDS, Codec, StoredFields, snapshot_type
from eventstore.leaf import StoredEvent, leaf_hash

_PAGE_ROWS: Final = 5000
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)
_COLUMNS: Final = ", ".join(StoredEvent._fields)
_EVENTS: Final = (
    f"SELECT {_COLUMNS}, leaf_hash FROM erp.events WHERE position > %s ORDER BY position LIMIT %s"  # noqa: S608
)

# One pass over the index of streams: the first event whose version does not follow the one before it, or was
# recorded before it.
_VERSION_GAP: Final = """
    SELECT position, stream_id, version, previous, position < earlier FROM (
        SELECT position, stream_id, version,
               lag(version) OVER stream AS previous, lag(position) OVER stream AS earlier
          FROM erp.events WINDOW stream AS (PARTITION BY stream_id ORDER BY version)) AS v
     WHERE version <> coalesce(previous + 1, CASE version WHEN 0 THEN 0 ELSE 1 END) OR position < earlier
     ORDER BY position LIMIT 1"""

_CUT_OFF: Final = """
    SELECT min(position) FROM erp.commands
     WHERE position > (SELECT coalesce(max(position), 0) FROM erp.events)"""

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Misfit:
    """The first event that does not fit, and why."""

    position: int
    reason: str


@dataclass(slots=True)
class Verified:
    """What was looked at, and what was found."""

    events: int = 0
    streams: int = 0
    snapshots: int = 0
    misfit: Misfit | None = None


@dataclass(slots=True)
class _Expected:
    """What the next event must have, from all that came before it."""

    position: int = 1
    after: datetime = _BEFORE_ALL
    tenant_seq: dict[UUID, int] = field(default_factory=lambda: defaultdict(lambda: 1))
    number: dict[tuple[UUID, str], int] = field(default_factory=lambda: defaultdict(lambda: 1))

    def misfit(self, event: StoredEvent, stored_hash: bytes) -> str | None:
        """Why the event does not fit, None when it does; then it becomes part of what came before."""
        if event.position != self.position:
            return f"position {self.position} is missing"
        if leaf_hash(event) != stored_hash:
            return "its bytes are not those that its leaf hash was made of"
        if event.recorded_at <= self.after:
            return f"it was recorded at {event.recorded_at.isoformat()}, not after the event before it"
        if event.tenant_seq != self.tenant_seq[event.tenant]:
            return (
                f"it is number {event.tenant_seq} of its tenant where {self.tenant_seq[event.tenant]} is due"
            )
        if event.series is not None:
            due = self.number[event.tenant, event.series]
            if event.number != due:
                return f"it has number {event.number} of the series {event.series} where {due} is due"
            self.number[event.tenant, event.series] += 1
        self.position += 1
        self.after = event.recorded_at
        self.tenant_seq[event.tenant] += 1
        return None


def count_events(reader_url: str) -> int:
    """The last position: how much there is to look at."""
    with psycopg.connect(reader_url, autocommit=True) as connection:
        row = connection.execute("SELECT coalesce(max(position), 0) FROM erp.events").fetchone()
        return int(row[0]) if row else 0


def verify(
    reader_url: str, codec: Codec, aggregates: list[type[Aggregate]], advance: Advance = lambda _: None
) -> Verified:
    """Look at the whole log as it stood when this began, in short reads, while others append.
    `advance` is told how many more events were looked at.
    """
    result = Verified()
    with psycopg.connect(reader_url, autocommit=True, options="-c timezone=UTC") as connection:
        expected = _Expected()
        for event, stored_hash in _log(connection, count_events(reader_url)):
            reason = expected.misfit(event, stored_hash)
            if reason is not None:
                result.misfit = Misfit(event.position, reason)
                return result
            result.events += 1
            if result.events % _PAGE_ROWS == 0:
                advance(_PAGE_ROWS)
        advance(result.events % _PAGE_ROWS)
        result.misfit = (
            _cut_off(connection)
            or _version_gap(connection)
            or _wrong_snapshot(connection, codec, aggregates, result)
        )
        row = connection.execute("SELECT count(DISTINCT stream_id) FROM erp.events").fetchone()
        result.streams = int(row[0]) if row else 0
    return result


def _log(connection: "psycopg.Connection[Any]", end: int) -> Iterator[tuple[StoredEvent, bytes]]:
    cursor = connection.cursor(binary=True)
    position = 0
    while rows := cursor.execute(_EVENTS, [position, _PAGE_ROWS]).fetchall():
        for *columns, stored_hash in rows:
            event = StoredEvent(*columns)
            if event.position > end:
                return
            yield event, stored_hash
        position = rows[-1][0]


def _cut_off(connection: "psycopg.Connection[Any]") -> Misfit | None:
    row = connection.execute(_CUT_OFF).fetchone()
    if row is None or row[0] is None:
        return None
    return Misfit(int(row[0]), "a command was answered with it, and it is missing")


def _version_gap(connection: "psycopg.Connection[Any]") -> Misfit | None:
    row = connection.execute(_VERSION_GAP).fetchone()
    if row is None:
        return None
    position, stream_id, version, previous, is_early = row
    if is_early:
        return Misfit(position, f"version {version} of stream {stream_id} stands before version {previous}")
    return Misfit(
        position,
        f"version {version} of stream {stream_id} follows {'nothing' if previous is None else previous}",
    )


def _wrong_snapshot(
    connection: "psycopg.Connection[Any]", codec: Codec, aggregates: list[type[Aggregate]], result: Verified
) -> Misfit | None:
    """The last event of the first snapshot that replaying its stream does not give.

    Those of shapes gone by are passed over.
    """
    known = {snapshot_type(aggregate): aggregate for aggregate in aggregates}
    taken = connection.execute(
        """SELECT stream_id, version, type, state FROM erp.snapshots
            WHERE type = ANY (%s) ORDER BY stream_id, version""",
        [list(known)],
    ).fetchall()
    aggregate: Aggregate | None = None
    for stream_id, version, kind, state in taken:
        if aggregate is None or aggregate.id != stream_id or aggregate.version > version:
            aggregate = known[kind].blank(stream_id)
        position = _replay(connection, codec, aggregate, version)
        result.snapshots += 1
        if aggregate.version != version or codec.encode_state(aggregate) != state:
            return Misfit(
                position,
                f"the snapshot of stream {stream_id} at version {version} is not what its events give",
            )
    return None


def _replay(connection: "psycopg.Connection[Any]", codec: Codec, aggregate: Aggregate, version: int) -> int:
    """Bring the aggregate to `version` and return the position of the last event applied."""
    rows = connection.cursor(binary=True).execute(
        f"""SELECT position, {FIELDS} FROM erp.events
             WHERE stream_id = %s AND version > %s AND version <= %s ORDER BY version""",  # noqa: S608 - names of ours
        [aggregate.id, aggregate.version, version],
    )
    last = 0
    for position, *stored in rows:
        codec.decode(aggregate.id, StoredFields(*stored)).mutate(aggregate)
        last = position
    return last
