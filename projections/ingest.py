"""Ingest: the events of Kafka's messages into the log copy.

Promises: what `take` has answered for is in ClickHouse. Nothing that comes by Kafka is believed: an event
must have the leaf hash that the store has for its position. What has not, or cannot be read at all, is
counted and left out, for the projector fetches what is missing from the store. A ClickHouse or Postgres that
is gone is waited for.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import psycopg

from domain.shared.errors import Unavailable
from eventstore.cloudevents import LogEvent, Published
from eventstore.codec import Codec
from eventstore.intake import Intake
from eventstore.leaf import StoredEvent, leaf_hash
from eventstore.one_line import one_line
from eventstore.pause import pause
from eventstore.pool import Pool
from projections import log_copy
from projections.clickhouse import UNKNOWN_TABLE, ClickHouse, StatementFailed, Unfit

log = logging.getLogger(__name__)

T = TypeVar("T")

_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_PASSING: Final = (Unavailable, StatementFailed, psycopg.OperationalError, psycopg.InterfaceError)
_HASHES: Final = "SELECT position, leaf_hash FROM erp.events WHERE position = ANY (%s)"
_NOT_THE_STORES: Final = "the store has no such event"
_EVENT: Final = f"SELECT {', '.join(StoredEvent._fields)}, leaf_hash FROM erp.events WHERE position = %s"  # noqa: S608


class _Stopped(Exception):
    """Told to stop before it was done."""


@dataclass
class IngestStatus:
    """What was done, for metrics."""

    events: int = 0
    """Written to the log copy, repeats included."""
    known: int = 0
    """Not written, for the log copy had them already."""
    fetched: int = 0
    """Too large for a message: read from the store."""
    dropped: int = 0
    """Not what the store has, or not to be written: left to the projector."""
    failures: int = 0
    """Times that ClickHouse or Postgres was lost."""


class Ingest(Intake):
    """Writes what comes by Kafka into the log copy; entered to ask the store about it.

    Args:
        worker_url: Postgres, as erp_worker.
        codec: whose upcasters the events pass.
        watermark: everything up to it is in the log copy already.
        written: called with the events after each write.
    """

    def __init__(
        self,
        worker_url: str,
        clickhouse: ClickHouse,
        codec: Codec,
        *,
        watermark: Callable[[], int],
        written: Callable[[Sequence[LogEvent]], None],
    ) -> None:
        super().__init__()
        self._store = Pool(worker_url, size_max=1, application_name="erp worker (ingest)")
        self._clickhouse = clickhouse
        self._codec = codec
        self._watermark = watermark
        self._written = written
        self._stop = asyncio.Event()
        self.status = IngestStatus()

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._store.__aexit__()

    def stop(self) -> None:
        """Wait for nothing any more; a write that is under way is finished."""
        self._stop.set()

    async def _handle(self, found: Sequence[Published]) -> bool:
        """Put these events into the log copy. True once all that are the store's are there."""
        try:
            await self._put_in(found)
        except _Stopped:
            return False
        return True

    async def _put_in(self, found: Sequence[Published]) -> None:
        watermark = self._watermark()
        wanted = [each for each in found if each.event.position > watermark]
        self.status.known += len(found) - len(wanted)
        whole = [LogEvent(each.event, each.leaf_hash) for each in wanted if each.is_whole]
        await self._write([logged for logged in whole if self._is_what_was_hashed(logged)])
        for each in wanted:
            if not each.is_whole:  # one at a time: each of these is large
                await self._write(await self._fetched(each))

    def _is_what_was_hashed(self, logged: LogEvent) -> bool:
        """Whether the leaf hash that came with the event is its own."""
        try:
            if leaf_hash(logged.event) == logged.leaf_hash:
                return True
        except Exception as error:  # noqa: BLE001 - columns that no row of the log can have
            log.debug("no leaf hash: %s", error)
        self._drop(logged.event.position, "its leaf hash is wrong")
        return False

    def _drop(self, position: int, why: str) -> None:
        self.status.dropped += 1
        log.warning("position %s is left out of what came by Kafka: %s", position, why)

    async def _fetched(self, published: Published) -> list[LogEvent]:
        """The event from the store, if it is the one that was published."""
        position = published.event.position
        rows = await self._persistently(lambda: self._store.rows(_EVENT, [position]))
        self.status.fetched += 1
        stored = [LogEvent(StoredEvent(*columns), leaf) for *columns, leaf in rows]
        if [logged.leaf_hash for logged in stored] == [published.leaf_hash]:
            return stored
        self._drop(position, _NOT_THE_STORES)
        return []

    async def _write(self, events: Sequence[LogEvent]) -> None:
        """Write those that are the store's; where some cannot be written at all, the others."""
        if not events:
            return
        try:
            written, others = await self._persistently(lambda: self._write_the_stores(events))
        except _Stopped:
            raise
        except Exception as error:
            if len(events) > 1:
                middle = len(events) // 2
                await self._write(events[:middle])
                await self._write(events[middle:])
                return
            log.exception("this is a defect of ours")
            self._drop(events[0].event.position, one_line(error))
        else:
            for logged in others:
                self._drop(logged.event.position, _NOT_THE_STORES)
            self.status.events += len(written)
            self._written(written)

    async def _write_the_stores(self, events: Sequence[LogEvent]) -> tuple[list[LogEvent], list[LogEvent]]:
        """Write those that are the store's; returns them, and the others.

        To be done whole when it is tried again: while ClickHouse was gone, Postgres may have been restored to
        an earlier point.
        """
        stored = dict(await self._store.rows(_HASHES, [[each.event.position for each in events]]))
        written: list[LogEvent] = []
        others: list[LogEvent] = []
        for each in events:
            (written if stored.get(each.event.position) == each.leaf_hash else others).append(each)
        await log_copy.write(self._clickhouse, written, self._codec)
        return written, others

    async def _persistently(self, work: Callable[[], Awaitable[T]]) -> T:
        """The work's result, tried for as long as ClickHouse or Postgres is gone, or lacks its tables.

        Raises:
            _Stopped: told to stop meanwhile.
            Unfit: it would fail for ever.
        """
        failures = 0
        while True:
            try:
                done = await work()
            except Unfit:
                raise
            except _PASSING as error:
                # The projector makes the tables; a wait for it is nothing to speak of.
                if not (isinstance(error, StatementFailed) and error.code == UNKNOWN_TABLE):
                    if failures == 0:
                        log.warning("ingest waits: %s", one_line(error))
                        self.status.failures += 1
                    failures += 1
                if await pause(self._stop, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]):
                    raise _Stopped from error
            else:
                if failures:
                    log.info("ingest goes on")
                return done
