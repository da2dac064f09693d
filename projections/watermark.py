"""The watermark: everything up to it is in the log copy, and is what the store has.

Positions are dense, so whatever is missing shows, however it was lost: a message, a broker, an expired
offset, a worker. What does not come by Kafka within a moment is fetched from the store; so the read side
goes on without Kafka too. What somebody waits for is fetched at once. Each row is held against the store's
leaf hash before the watermark passes it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Final, NamedTuple

from eventstore.checkpoint import read_page
from eventstore.cloudevents import LogEvent
from eventstore.pause import pause
from projections import checkpoints, log_copy
from projections.checkpoints import Connection, LogCopy
from projections.clickhouse import ClickHouse
from projections.log_copy import TailRow, Whereabouts
from projections.store_copy import COPY_EVENTS_MAX, StoreCopy

log = logging.getLogger(__name__)

# Rows of this worker's wake it; it looks for a log that goes on without them.
_POLL_S: Final = 0.05
_POLL_WITHOUT_KAFKA_S: Final = 0.02
PATIENCE_S: Final = 1.5
"""For so long Kafka may bring nothing while the log goes on."""
# While it brings nothing at all, waiting for it longer would only be late.
_PATIENCE_WITHOUT_KAFKA_S: Final = 0.1
# Standing for so long, it looks for rows that other workers brought: not sooner, for each look costs
# ClickHouse as much as an insert, and on a busy log the next row is nearly always on its way.
_TAIL_AFTER_S: Final = 0.3
_PAGE_EVENTS: Final = 5000
_PAGE_BYTES: Final = 16 * 1024 * 1024
# As many as go by while a table rests.
_STRETCHES_KEPT: Final = 1024
# So many are fetched sooner than Kafka brings them.
_HURRIED_EVENTS_MAX: Final = 500
# From here on it is faster not to take each event into the hand.
_LONG_EVENTS: Final = 2000
_LOOK_EVERY_S: Final = 1.0


class LookAgain(Exception):
    """ClickHouse or the store are not what they were a moment ago."""


class _Stretch(NamedTuple):
    """A range that the watermark passed, and the types of the events in it."""

    after: int
    up_to: int
    types: frozenset[str]


class Watermark:
    """Moves the watermark on, for as long as `follow` runs; others wait for it here."""

    def __init__(
        self,
        connection: Connection,
        clickhouse: ClickHouse,
        store: StoreCopy,
        copied: LogCopy,
        place: Whereabouts,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._connection = connection
        self._clickhouse = clickhouse
        self._store = store
        self._copied = copied
        self._place = place
        self._patience_s = patience_s
        self._moved = asyncio.Condition()
        self._wake = asyncio.Event()
        self._brought: dict[int, TailRow] = {}
        """Rows of the log copy beyond the watermark, as far as we know of them."""
        self._tail_at = 0.0
        self._stretches: deque[_Stretch] = deque(maxlen=_STRETCHES_KEPT)
        self._stands_since = self._looked_at = asyncio.get_running_loop().time()
        # Whatever was missed while nobody worked is fetched at once.
        self._kafka_is_silent = True
        self.head = copied.position
        self._wanted = 0
        self.healed = 0
        """Events that were fetched from the store, for Kafka did not bring them."""
        self.hurried = 0
        """Events that were fetched from the store, for somebody waited for them."""

    @property
    def position(self) -> int:
        """Where it stands."""
        return self._copied.position

    def brought(self, events: Iterable[LogEvent]) -> None:
        """These are in the log copy by now."""
        for event, leaf_hash in events:
            if event.position > self.position:
                self._brought[event.position] = TailRow(event.position, leaf_hash, event.type)
        self._wake.set()

    async def wait_until(self, is_so: Callable[[int], bool], *, within_s: float | None = None) -> None:
        """Return as soon as that is so of where it stands, or the time is over; looked at whenever it moves,
        and when somebody wants something.
        """
        # Not asyncio.wait_for: it forgets that it was cancelled when what it waits for comes meanwhile.
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._moved:
                await self._moved.wait_for(lambda: is_so(self.position))

    async def wait_beyond(self, position: int) -> None:
        """Return as soon as it stands beyond `position`."""
        await self.wait_until(lambda stands: stands > position)

    async def want(self, position: int) -> None:
        """Somebody waits for this position, and for what projections make of it."""
        self._wanted = max(self._wanted, position)
        self._wake.set()
        await self._look_again()

    async def _look_again(self) -> None:
        """Whoever waits is to look again."""
        async with self._moved:
            self._moved.notify_all()

    def types_between(self, after: int, up_to: int) -> frozenset[str] | None:
        """The types of the events there; None: look."""
        within = [each for each in self._stretches if each.up_to > after and each.after < up_to]
        if not within or within[0].after > after or within[-1].up_to < up_to:
            return None
        return frozenset().union(*(each.types for each in within))

    async def follow(self) -> None:
        """Move on for ever.

        Raises:
            LookAgain: another ClickHouse, or one that was started again; a log that is shorter; a watermark
                that somebody else has moved.
        """
        while True:
            # Before it looks, not after: what comes meanwhile is not to be slept through.
            self._wake.clear()
            await self._look_now_and_then()
            if await self._pass_what_was_brought():
                continue
            self.head = await checkpoints.head(self._connection)
            if self.head < self.position:
                raise LookAgain(f"the log ends at {self.head}: Postgres was restored to an earlier point")
            if self.head == self.position:
                self._stands_since = asyncio.get_running_loop().time()
                await self._wait()
            elif self.position < self._wanted:
                await self._hurry()
            else:
                await self._come_closer()

    async def _look_now_and_then(self) -> None:
        """Nothing else would show that what is there has been wiped, restored or reset."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            await self._require_same_clickhouse()
            if await checkpoints.log_copy(self._connection) != self._copied:
                raise LookAgain("somebody else has moved the watermark")

    async def _pass_what_was_brought(self) -> bool:
        """The usual case in one question: what this worker brought is what comes next, and is the store's."""
        rows = self._following(self._brought, self.position + _PAGE_EVENTS)
        if not rows:
            return False
        leaf_hashes = b"".join(row.leaf_hash for row in rows)
        moved = await checkpoints.pass_what_is_the_stores(
            self._connection, self._copied, rows[-1].position, leaf_hashes
        )
        if moved is None:
            return False
        self._kafka_is_silent = False
        await self._went_on(moved, frozenset(row.type for row in rows))
        return True

    async def _hurry(self) -> None:
        """Fetch what is waited for: by way of Kafka, in batches, it would take three times as long. Not if it
        is much, for then batches are faster.
        """
        up_to, self._wanted = min(self._wanted, self.head), 0
        if up_to - self.position <= _HURRIED_EVENTS_MAX:
            page = await self._fetch(self.position, up_to)
            self.hurried += len(page)
            await self._pass(page)

    async def _come_closer(self) -> None:
        rows = self._following(self._brought, self.head)
        now, patience_s = asyncio.get_running_loop().time(), self._patience_now_s()
        tail_after_s = min(_TAIL_AFTER_S, patience_s)
        if not rows and now - max(self._stands_since, self._tail_at) >= tail_after_s:
            # What other workers brought, and what came before this one began.
            self._tail_at = now
            found = await log_copy.tail(self._clickhouse, self.position, _PAGE_EVENTS)
            self._brought = {row.position: row for row in found}
            rows = self._following(self._brought, self.head)
        if rows:
            self._kafka_is_silent = False
            await self._accept(rows)
        elif now - self._stands_since > patience_s:
            await self._heal()
        else:
            await self._wait()

    def _following(self, rows: Mapping[int, TailRow], up_to: int) -> list[TailRow]:
        """Those that follow on the watermark without a gap, up to there and not too many."""
        due = range(self.position + 1, min(up_to, self.position + _PAGE_EVENTS) + 1)
        return [rows[position] for position in takewhile(rows.__contains__, due)]

    async def _accept(self, rows: list[TailRow]) -> None:
        """Pass rows that are what the store has; write those anew that are not."""
        last = rows[-1].position
        cursor = self._connection.cursor(binary=True)
        await cursor.execute(
            b"SELECT leaf_hash FROM erp.events WHERE position > %s AND position <= %s ORDER BY position",
            [self.position, last],
            prepare=True,
        )
        stored = [leaf for (leaf,) in await cursor.fetchall()]
        if len(stored) != len(rows):
            raise LookAgain("the log has become shorter")
        for row, leaf in zip(rows, stored, strict=True):
            if row.leaf_hash != leaf:
                log.warning(
                    "position %s of the log copy is not the store's event: fetched anew", row.position
                )
                self.healed += len(await self._fetch(row.position - 1, row.position))
        await self._move(last, frozenset(row.type for row in rows))

    def _patience_now_s(self) -> float:
        return _PATIENCE_WITHOUT_KAFKA_S if self._kafka_is_silent else self._patience_s

    async def _heal(self) -> None:
        """Fetch what comes next from the store: the hole, or, where there are many (a partition that is
        behind leaves one at every other position), as far as the log goes or in one piece.
        """
        if not self._kafka_is_silent:
            log.info("events after %s do not come by Kafka: fetched from the store", self.position)
        self._kafka_is_silent = True
        following = min(self._brought, default=self.head + 1)
        is_only_hole = len(self._brought) > self.head - following
        up_to = min(following - 1 if is_only_hole else self.head, self.position + COPY_EVENTS_MAX)
        if up_to - self.position >= _LONG_EVENTS:
            await self._heal_at_length(up_to)
        else:
            page = await self._fetch(self.position, up_to)
            self.healed += len(page)
            await self._pass(page)

    async def _heal_at_length(self, up_to: int) -> None:
        copied = await self._store.copy(self.position, up_to)
        if copied < up_to - self.position:
            raise LookAgain("the log has become shorter")
        self.healed += copied
        cursor = await self._connection.execute(
            "SELECT DISTINCT type FROM erp.events WHERE position > %s AND position <= %s",
            [self.position, up_to],
        )
        await self._move(up_to, frozenset(name for (name,) in await cursor.fetchall()))

    async def _fetch(self, after: int, up_to: int) -> Sequence[LogEvent]:
        """Copy the store's next events there, a page of them at most and one at least."""
        page = await read_page(self._connection, after, min(_PAGE_EVENTS, up_to - after), _PAGE_BYTES)
        if not page:
            raise LookAgain("the log has become shorter")
        await log_copy.write(self._clickhouse, page, self._store.codec)
        return page

    async def _pass(self, page: Sequence[LogEvent]) -> None:
        await self._move(page[-1].event.position, frozenset(logged.event.type for logged in page))

    async def _move(self, position: int, types: frozenset[str]) -> None:
        moved = await checkpoints.move_log_copy(self._connection, self._copied, position)
        await self._went_on(moved, types)

    async def _went_on(self, moved: LogCopy, types: frozenset[str]) -> None:
        before, self._copied = self.position, moved
        for passed in range(before + 1, self.position + 1):
            self._brought.pop(passed, None)
        self.head = max(self.head, self.position)
        self._stands_since = asyncio.get_running_loop().time()
        self._stretches.append(_Stretch(before, self.position, types))
        await self._look_again()

    async def _require_same_clickhouse(self) -> None:
        place = await log_copy.whereabouts(self._clickhouse)
        if place.instance != self._place.instance:
            raise LookAgain("ClickHouse is another one")
        if place.uptime_s < self._place.uptime_s:
            raise LookAgain("ClickHouse was started again")
        self._place = place

    async def _wait(self) -> None:
        """Until rows came, or somebody wants something, or for a moment."""
        await pause(self._wake, _POLL_WITHOUT_KAFKA_S if self._kafka_is_silent else _POLL_S)
