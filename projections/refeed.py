"""The log copy brought up to the head of the log, with a worker or without.

Where a projector is active it moves the watermark, and what is copied beside it are the store's own rows.
Where none is, this takes its place for as long as it needs to.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from eventstore.codec import Codec
from projections import checkpoints, locks, log_copy
from projections.checkpoints import Connection
from projections.clickhouse import ClickHouse, ReadSideDown
from projections.declaration import Projection
from projections.patience import Patience
from projections.settling import settled_log_copy
from projections.store_copy import Reached, StoreCopy

_LOOK_S: Final = 0.05


class Refeed:
    """Brings the log copy up.

    Args:
        url: Postgres, as erp_worker.
        projections: all there are; they are made anew where ClickHouse is not the one that they are in.
        name: tells others who it is.
    """

    def __init__(
        self, url: str, clickhouse: ClickHouse, codec: Codec, projections: Sequence[Projection], *, name: str
    ) -> None:
        self._url = url
        self._name = name
        self._clickhouse = clickhouse
        self._projections = projections
        self._store = StoreCopy(url, clickhouse, codec)
        self._looked_at = False
        self.copied = 0
        """Events that were fetched from the store here."""

    async def bring_up(self, reached: Reached, *, from_store: bool = False) -> int:
        """Bring the watermark to where the log ends now, and return that position.

        Args:
            reached: told up to where all is well, now and then.
            from_store: hold every row against the store, and take it from there where it is not the same.

        Raises:
            Refusal: a person must decide.
            ReadSideDown: ClickHouse cannot be reached.
        """
        async with await locks.session(self._url, self._name) as connection:
            head = await checkpoints.head(connection)
            self._looked_at = not from_store
            patience = Patience()
            while True:
                try:
                    if await self._is_up(connection, head, reached):
                        return head
                except ReadSideDown:
                    if not await patience.wait():
                        raise

    async def _is_up(self, connection: Connection, head: int, reached: Reached) -> bool:
        """Whether it is where it should be; if not, it is nearer when this returns."""
        place = await log_copy.prepare(self._clickhouse)
        copied = await checkpoints.log_copy(connection)
        is_settled = copied.instance == place.instance
        if self._looked_at and is_settled and copied.position >= head:
            return True
        if await locks.try_hold(connection, locks.PROJECTOR):
            await self._as_the_projector(connection, head, reached)
        elif is_settled and not self._looked_at:
            await self._beside_the_projector(connection, head, reached)
        else:
            if is_settled:
                await reached(copied.position)
            await asyncio.sleep(_LOOK_S)
        return False

    async def _as_the_projector(self, connection: Connection, head: int, reached: Reached) -> None:
        """By the session that holds its lock, which is let go."""
        try:
            await self._bring_up_alone(connection, head, reached)
        finally:
            await locks.let_go(connection, locks.PROJECTOR)

    async def _bring_up_alone(self, connection: Connection, head: int, reached: Reached) -> None:
        place = await log_copy.prepare(self._clickhouse)
        copied = await settled_log_copy(connection, self._clickhouse, place, self._projections)

        async def moved(position: int) -> None:
            nonlocal copied
            if position > copied.position:
                copied = await checkpoints.move_log_copy(connection, copied, position)
            await reached(position)

        after = copied.position if self._looked_at else 0
        self.copied += await self._store.repair(connection, after, head, moved)
        self._looked_at = True

    async def _beside_the_projector(self, connection: Connection, head: int, reached: Reached) -> None:
        self.copied += await self._store.repair(connection, 0, head, reached)
        self._looked_at = True
        last = await log_copy.last(self._clickhouse)
        if last is not None and last.position > await checkpoints.head(connection):
            # Rows are taken out by who holds the lock, or an event that comes now might go with them.
            await locks.wrest(connection, locks.PROJECTOR)
            await self._as_the_projector(connection, head, reached)
