"""How far a group has come in each partition, in memory and in Postgres.

A position is dealt with once every interested saga has recorded what it makes of the event, or the event is
parked. What Postgres has is never ahead of that: a crash repeats events, and never loses one.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from eventstore.packing import Partition
from eventstore.pool import Pool

_EVERYWHERE: Final = Partition("", 0)
_LOAD: Final = """
    SELECT topic, partition, position, extract(epoch FROM clock_timestamp() - moved_at)::float8
      FROM erp.partition_positions WHERE consumer_group = %s"""
_MOVE: Final = """
    INSERT INTO erp.partition_positions AS p (consumer_group, topic, partition, position)
    SELECT %s, t.topic, t.partition, t.position
      FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS t (topic, partition, position)
     ORDER BY t.topic, t.partition
        ON CONFLICT (consumer_group, topic, partition) DO UPDATE
       SET position = excluded.position, moved_at = clock_timestamp() WHERE p.position < excluded.position"""


class Track:
    """One partition: what was accepted, in order of position, and up to where all of it is dealt with."""

    def __init__(self, position: int) -> None:
        self.accepted = position
        self.dealt = position
        self._open: deque[int] = deque()
        self._done: set[int] = set()

    def accept(self, position: int) -> None:
        """Take it on; the next one lies behind it."""
        self.accepted = position
        self._open.append(position)

    def done(self, position: int) -> None:
        """It is dealt with."""
        self._done.add(position)
        while self._open and self._open[0] in self._done:
            self._done.discard(self._open[0])
            self.dealt = self._open.popleft()

    def is_done(self, position: int) -> bool:
        """Whether it is dealt with, perhaps before what comes before it."""
        return position <= self.dealt or position in self._done

    def skip_to(self, position: int) -> None:
        """Somebody else has dealt with everything up to here."""
        if position > self.accepted:
            self.accepted = position
            if not self._open:
                self.dealt = position


class Positions:
    """All partitions of a group."""

    def __init__(self, pool: Pool, group: str) -> None:
        self._pool = pool
        self._group = group
        self._tracks: dict[Partition, Track] = {}
        self._kept: dict[Partition, int] = {}
        self._age_s: dict[Partition, float] = {}
        self._healed: dict[Partition, int] = {}
        self.floor = 0
        """Everything up to it is dealt with in all partitions."""

    async def load(self) -> None:
        """Learn what others have dealt with."""
        rows = await self._pool.rows(_LOAD, [self._group])
        self._kept = {Partition(topic, number): position for topic, number, position, _ in rows}
        self._age_s = {Partition(topic, number): age_s for topic, number, _, age_s in rows}
        self.floor = max(self.floor, self._kept.pop(_EVERYWHERE, 0))
        for partition, track in self._tracks.items():
            track.skip_to(max(self.floor, self._kept.get(partition, 0)))

    def track(self, partition: Partition) -> Track:
        """Where we are in it."""
        track = self._tracks.get(partition)
        if track is None:
            track = self._tracks[partition] = Track(max(self.floor, self._kept.get(partition, 0)))
        return track

    def is_dealt_with(self, partition: Partition, position: int) -> bool:
        """Whether it is, as far as we know."""
        if position <= max(self.floor, self._kept.get(partition, 0)):
            return True
        track = self._tracks.get(partition)
        return track is not None and track.is_done(position)

    def healed(self, partition: Partition, position: int) -> None:
        """Up to here it was brought on from the store."""
        self._healed[partition] = position

    def is_moving(self, partition: Partition, within_s: float) -> bool:
        """Whether somebody who has it from Kafka has brought it on, so many seconds ago at most."""
        moved = self._kept.get(partition, 0) > self._healed.get(partition, 0)
        return moved and self._age_s.get(partition, within_s) < within_s

    async def save(self) -> None:
        """Keep in Postgres what was dealt with since the last time."""
        moved = {
            partition: track.dealt
            for partition, track in self._tracks.items()
            if track.dealt > self._kept.get(partition, 0)
        }
        await self._move(moved)
        self._kept |= moved

    async def raise_floor(self, position: int) -> None:
        """Everything up to here is dealt with, in all partitions."""
        if position > self.floor:
            await self._move({_EVERYWHERE: position})
            self.floor = position

    async def _move(self, moved: Mapping[Partition, int]) -> None:
        if moved:
            topics, numbers = [to.topic for to in moved], [to.partition for to in moved]
            await self._pool.rows(_MOVE, [self._group, topics, numbers, list(moved.values())])
