"""How far the log is published, as Postgres keeps it, and the log from there on.

All of it goes over the connection that holds the lock of the active relay: without that lock nothing moves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from eventstore.cloudevents import LogEvent
from eventstore.leaf import StoredEvent
from eventstore.packing import Partition
from eventstore.refusal import Refusal

_COLUMNS: Final = ", ".join(StoredEvent._fields)
# Bounded in events and in bytes; the first event comes however large it is. Sizes are known without reading
# the data.
_PAGE: Final = f"""
    SELECT {_COLUMNS}, leaf_hash FROM (
        SELECT *, sum(octet_length(data) + octet_length(metadata)) OVER (
                      ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
          FROM (SELECT * FROM erp.events WHERE position > %s ORDER BY position LIMIT %s) AS page) AS sized
     WHERE coalesce(bytes_before, 0) < %s ORDER BY position"""  # noqa: S608 - names of ours
_ADVANCE: Final = """
    WITH moved AS (
        UPDATE erp.relay SET position = %s, partitions = %s, moved_at = clock_timestamp()
         WHERE position = %s RETURNING position
    ), tails AS (
        INSERT INTO erp.relay_partitions (topic, partition, position)
        SELECT t.topic, t.partition, t.position
          FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS t (topic, partition, position), moved
            ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position
    )
    SELECT position FROM moved"""
_LAG: Final = """
    SELECT coalesce((SELECT position FROM erp.events ORDER BY position DESC LIMIT 1), 0),
           coalesce((SELECT extract(epoch FROM clock_timestamp() - recorded_at)
                       FROM erp.events WHERE position = %s + 1), 0)::float8"""

Connection = psycopg.AsyncConnection[Any]


class CheckpointBeyondLog(Refusal):
    """More is published than the log has."""


class PartitionsChanged(Refusal):
    """What is published went to another number of partitions."""


class LogGap(Refusal):
    """A position is missing, which the store never lets happen."""


class CheckpointMoved(Exception):
    """Somebody else has moved the checkpoint: this relay is not the active one any more."""


@dataclass
class Checkpoint:
    """Everything up to `position` is in Kafka; `tails` is the last position in each partition."""

    position: int = 0
    tails: dict[Partition, int] = field(default_factory=dict)


async def load(connection: Connection, partitions: int) -> Checkpoint:
    """The checkpoint.

    Raises:
        CheckpointBeyondLog: the log is shorter.
        PartitionsChanged: what is published went to another number of them.
    """
    cursor = await connection.execute("SELECT position, partitions FROM erp.relay")
    row = await cursor.fetchone()
    position, published_to = row if row is not None else (0, None)
    last, _ = await lag(connection, position)
    if position > last:
        raise CheckpointBeyondLog(
            f"{position} events are published and the log has {last}: "
            "Postgres was restored to an earlier point. What Kafka and the projections hold beyond it "
            "never happened: reset them, then publish the log anew with `erp relay --from-start`"
        )
    if published_to not in {None, partitions}:
        raise PartitionsChanged(
            f"the log is published to {published_to} partitions a topic "
            f"and ERP_KAFKA__PARTITIONS says {partitions}: "
            "that would break the order within streams. Set it back, or take another "
            "ERP_KAFKA__TOPIC_PREFIX and publish the log anew with `erp relay --from-start`"
        )
    cursor = await connection.execute("SELECT topic, partition, position FROM erp.relay_partitions")
    tails = {Partition(topic, number): tail for topic, number, tail in await cursor.fetchall()}
    return Checkpoint(position, tails)


async def advance(
    connection: Connection,
    checkpoint: Checkpoint,
    position: int,
    moved: Mapping[Partition, int],
    partitions: int,
) -> None:
    """Move the checkpoint, here and in Postgres, both or neither.

    Raises:
        CheckpointMoved: somebody else has.
    """
    topics = [to.topic for to in moved]
    numbers = [to.partition for to in moved]
    parameters = [position, partitions, checkpoint.position, topics, numbers, list(moved.values())]
    cursor = await connection.execute(_ADVANCE, parameters, prepare=True)
    if await cursor.fetchone() is None:
        raise CheckpointMoved
    checkpoint.position = position
    checkpoint.tails.update(moved)


async def start_over(connection: Connection) -> None:
    """Nothing is published any more, as far as the relay knows."""
    async with connection.transaction():
        await connection.execute("UPDATE erp.relay SET position = 0, partitions = NULL")
        await connection.execute("DELETE FROM erp.relay_partitions")


async def lag(connection: Connection, position: int) -> tuple[int, float]:
    """The last position of the log, and for how many seconds the event after `position` has been waiting."""
    cursor = await connection.execute(_LAG, [position], prepare=True)
    row = await cursor.fetchone()
    assert row is not None, "a query of scalars"
    return int(row[0]), max(0.0, float(row[1]))


async def read_page(connection: Connection, after: int, events_max: int, bytes_max: int) -> list[LogEvent]:
    """The next events of the log, in order of position, in a transaction of its own.

    Raises:
        LogGap: a position is missing.
    """
    cursor = connection.cursor(binary=True)
    await cursor.execute(_PAGE.encode(), [after, events_max, bytes_max], prepare=True)
    page = [LogEvent(StoredEvent(*columns), leaf) for *columns, leaf in await cursor.fetchall()]
    if page and page[-1].event.position != after + len(page):
        raise LogGap(f"the log has gaps after position {after}: run `erp verify`")
    return page
