"""The feed: events from Kafka, and from the store where Kafka has left one out, to their delivery.

Promises: the events of a partition are delivered in order of position, none left out. Each message tells what
came before it; where that was not seen, the store is read first. What is delivered already is passed over.
Nothing that comes by Kafka is believed: an event must have the leaf hash that the store has for its position.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from domain.shared.errors import Unavailable
from eventstore.cloudevents import Published
from eventstore.intake import Intake
from eventstore.leaf import StoredEvent, leaf_hash
from eventstore.packing import Partition
from sagas.delivery import Delivery, Stopped
from sagas.interests import Interests
from sagas.log import Log, Place
from sagas.positions import Positions, Track
from sagas.status import SagaWorkerStatus

log = logging.getLogger(__name__)

_IN_FLIGHT_MAX: Final = 1000
_SAVE_EVERY_S: Final = 0.05
_AGAIN_S: Final = 0.5


class Feed(Intake):
    """Takes messages, and keeps the positions."""

    def __init__(
        self,
        interests: Interests,
        positions: Positions,
        delivery: Delivery,
        store_log: Log,
        status: SagaWorkerStatus,
    ) -> None:
        super().__init__()
        self._interests = interests
        self._positions = positions
        self._delivery = delivery
        self._log = store_log
        self._status = status
        self._stop = asyncio.Event()
        self._accepting = asyncio.Lock()
        self._room = asyncio.Semaphore(_IN_FLIGHT_MAX)
        self._in_flight: dict[int, asyncio.Task[None]] = {}

    def stop(self) -> None:
        """Take on nothing more."""
        self._stop.set()

    async def drained(self, within_s: float) -> None:
        """Wait until what was taken on is done; what is not by then is given up, and comes again."""
        if self._in_flight:
            await asyncio.wait(list(self._in_flight.values()), timeout=within_s)
        left = list(self._in_flight.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def run(self) -> None:
        """Keep the positions until told to stop, and once more then."""
        while not self._stop.is_set():
            await asyncio.sleep(_SAVE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Keep the positions, if Postgres is there."""
        try:
            await self._positions.save()
        except Unavailable as error:
            log.debug("positions are not kept: %s", error)

    # From Kafka

    async def _handle(self, found: Sequence[Published]) -> bool:
        """Have these events delivered. True once they are on their way: should that be cut short, they come
        from the store.
        """
        try:
            async with self._accepting:
                hashes = await self._log.leaf_hashes([each.event.position for each in found])
                for each in found:
                    await self._accept(each, hashes.get(each.event.position))
        except (Stopped, Unavailable):
            return False
        return True

    async def _accept(self, published: Published, stored_hash: bytes | None) -> None:
        event = published.event
        partition = self._interests.partition(event)
        if partition is None:
            return
        track = self._positions.track(partition)
        if event.position <= track.accepted:
            self._status.repeats += 1
            return
        if not _is_whole(published, stored_hash):
            if stored_hash is None or published.leaf_hash != stored_hash:
                self._status.dropped += 1
                log.warning("position %s is left out: the store has no such event", event.position)
                return
            event = await self._log.at(event.position)
        if published.previous > track.accepted:
            up_to = min(published.previous, event.position - 1)
            await self._refill(partition, track, event.stream_type, up_to)
        if event.position > track.accepted:
            await self._submit(event, track)

    async def _refill(self, partition: Partition, track: Track, stream_type: str, up_to: int) -> None:
        """Deliver what comes before, as far as nobody else has: a worker that had the partition before."""
        await self._positions.load()
        await self._delivery.look()
        after = track.accepted
        while after < up_to:
            events = await self._log.between(after, up_to, [stream_type])
            for event in events:
                if self._interests.partition(event) == partition and event.position > track.accepted:
                    await self._submit(event, track)
                    self._status.refilled += 1
            after = events[-1].position if events else up_to
        track.skip_to(up_to)

    # From the store

    async def heal(self, late: Sequence[Place], late_s: float) -> int:
        """Deliver those of these events that nobody has dealt with and nobody is at; the last position up to
        which all is dealt with, 0 if the first is not.

        Where a partition comes on, its worker has too much to do, or will notice what is missing: to do the
        same beside it would only take longer.
        """
        reached, missing = 0, []
        is_all = True
        for place in late:
            if not self._is_settled(place):
                is_all = False
                partition = self._interests.place(place.stream_type, place.stream_id)
                assert partition is not None, "else it is settled"
                if place.position not in self._in_flight and not self._positions.is_moving(partition, late_s):
                    missing.append(place.position)
            if is_all:
                reached = place.position
        if missing:
            async with self._accepting:
                for event in await self._log.at_all(missing):
                    await self._resubmit(event)
        return reached

    def _is_settled(self, place: Place) -> bool:
        partition = self._interests.place(place.stream_type, place.stream_id)
        if partition is None or not self._interests.of(place.type):
            return True
        return self._positions.is_dealt_with(partition, place.position)

    async def _resubmit(self, event: StoredEvent) -> None:
        partition = self._interests.partition(event)
        assert partition is not None, "it was asked for"
        track = self._positions.track(partition)
        if event.position in self._in_flight or self._positions.is_dealt_with(partition, event.position):
            return
        self._status.healed += 1
        self._positions.healed(partition, event.position)
        if event.position > track.accepted:
            await self._submit(event, track)
        else:
            await self._start(event, track)

    # On their way

    async def _submit(self, event: StoredEvent, track: Track) -> None:
        if not self._interests.of(event.type):
            track.accept(event.position)
            track.done(event.position)
            return
        await self._start(event, track, is_new=True)

    async def _start(self, event: StoredEvent, track: Track, *, is_new: bool = False) -> None:
        await self._room.acquire()
        if self._stop.is_set():
            self._room.release()
            raise Stopped
        if is_new:
            track.accept(event.position)
        self._in_flight[event.position] = asyncio.create_task(self._deal_with(event, track))
        self._status.in_flight = len(self._in_flight)

    async def _deal_with(self, event: StoredEvent, track: Track) -> None:
        try:
            await self._delivery.deliver(event)
        except Stopped:
            log.debug("position %s is left for the next worker", event.position)
        except Exception:
            log.exception("this is a defect of ours; position %s comes again", event.position)
            await asyncio.sleep(_AGAIN_S)
        else:
            track.done(event.position)
        finally:
            del self._in_flight[event.position]
            self._status.in_flight = len(self._in_flight)
            self._room.release()


def _is_whole(published: Published, stored_hash: bytes | None) -> bool:
    """Whether all of the event came, and it is what the store has."""
    try:
        return published.is_whole and leaf_hash(published.event) == stored_hash
    except Exception as error:  # noqa: BLE001 - columns that no row of the log can have
        log.debug("no leaf hash: %s", error)
        return False
