"""Copies the store's log into the log copy without taking each event into the hand.

What Postgres' COPY says of a row is what ClickHouse reads as TabSeparated, escapes and all. Events that must
pass an upcaster, or whose bytes are not JSON, go by way of Python.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any, Final, NamedTuple

import psycopg

from eventstore.cloudevents import LogEvent
from eventstore.codec import ENCODING, Codec
from eventstore.leaf import StoredEvent
from projections import digests, log_copy
from projections.checkpoints import Connection
from projections.clickhouse import ClickHouse, ReadSideDown, StatementFailed
from projections.digests import RANGE_EVENTS, StoreShortened

Reached = Callable[[int], Awaitable[None]]

COPY_EVENTS_MAX: Final = 4 * RANGE_EVENTS
_PIECE_BYTES: Final = 1024 * 1024
_BATCH_EVENTS: Final = 5000
_BATCH_BYTES: Final = 16 * 1024 * 1024
_FETCHED_AT_ONCE: Final = 200
_CONNECTION: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 3,
    "application_name": "erp log copy",
    "client_encoding": "utf8",
    "options": "-c timezone=UTC -c datestyle=ISO -c tcp_keepalives_idle=5",
}
# As the columns of the log copy are written in ClickHouse.
_AS_TEXT: Final = {
    "number": "coalesce(number, 0)",
    "recorded_at": "recorded_at AT TIME ZONE 'UTC'",
    "series": "coalesce(series, '')",
    "data": "convert_from(data, 'UTF8')",
    "metadata": "convert_from(metadata, 'UTF8')",
    "leaf_hash": "encode(leaf_hash, 'hex')",
}
_TEXT_COLUMNS: Final = ", ".join(_AS_TEXT.get(name, name) for name in log_copy.COLUMNS)
_COLUMNS: Final = tuple(log_copy.LEAF_HEX if name == "leaf_hash" else name for name in log_copy.COLUMNS)
_AS_IT_IS: Final = f"""encoding = '{ENCODING}'
    AND coalesce(schema_version = (%(versions)s::jsonb ->> type)::int, true)"""
_RANGE: Final = "position > %(after)s AND position <= %(up_to)s"
_COPY: Final = f"COPY (SELECT {_TEXT_COLUMNS} FROM erp.events WHERE {_RANGE} AND {_AS_IT_IS}) TO STDOUT"  # noqa: S608
_OTHERS: Final = f"""
    SELECT {", ".join(StoredEvent._fields)}, leaf_hash FROM erp.events
     WHERE {_RANGE} AND (%(all)s OR NOT ({_AS_IT_IS})) ORDER BY position"""  # noqa: S608 - names of ours


class StoreCopy:
    """Copies from the store of this URL (as erp_worker, or whoever reads the events of all tenants)."""

    def __init__(self, url: str, clickhouse: ClickHouse, codec: Codec) -> None:
        self._url = url
        self._clickhouse = clickhouse
        self._versions = json.dumps(codec.schema_versions)
        self.codec = codec

    async def copy(self, after: int, up_to: int) -> int:
        """Copy the events of a range; returns how many there were. They are in the log copy then, in place of
        rows of the same positions.

        Raises:
            ReadSideDown, StatementFailed: of ClickHouse.
            psycopg.Error: of Postgres.
        """
        parameters = {"after": after, "up_to": up_to, "versions": self._versions, "all": False}
        rows = _TextRows(self._url, parameters)
        try:
            await self._clickhouse.insert_stream(log_copy.NAME, _COLUMNS, "TabSeparated", rows)
        except (ReadSideDown, StatementFailed):
            if rows.error is None:
                raise
        finally:
            await rows.close()
        if isinstance(rows.error, psycopg.DataError):
            # Bytes that say they are JSON and are not even text.
            return await self._copy_one_by_one({**parameters, "all": True})
        if rows.error is not None:
            raise rows.error
        return rows.count + await self._copy_one_by_one(parameters)

    async def _copy_one_by_one(self, parameters: dict[str, Any]) -> int:
        count = 0
        async with await psycopg.AsyncConnection.connect(self._url, **_CONNECTION) as connection:
            async for batch in _batches(connection, parameters):
                count += await log_copy.write(self._clickhouse, batch, self.codec)
        return count

    async def repair(self, connection: Connection, after: int, up_to: int, reached: Reached) -> int:
        """Copy those ranges of the stretch in which the log copy is not what the store has; returns how many
        events were copied. `reached` is told up to where all is well, on the way.

        Raises:
            ReadSideDown, StatementFailed: of ClickHouse.
            psycopg.Error: of Postgres.
            StoreShortened: the store has not got all of them.
        """
        copied = 0
        begun = after
        async for each in self._compared(connection, after, up_to):
            if each.fits or each.up_to - begun >= COPY_EVENTS_MAX or each.up_to == up_to:
                end = each.after if each.fits else each.up_to
                if end > begun:
                    if await self.copy(begun, end) < end - begun:
                        raise StoreShortened(f"the log has gaps after position {begun}: run `erp verify`")
                    copied += end - begun
                begun = each.up_to
                await reached(each.up_to)
        return copied

    async def _compared(self, connection: Connection, after: int, up_to: int) -> AsyncIterator["_Compared"]:
        for within in digests.ranges(after, up_to):
            there = await digests.digest_of_log_copy(self._clickhouse, within)
            # What is not even as many need not be looked at.
            fits = there.events == within.up_to - within.after and there == await digests.digest_of_store(
                connection, self.codec, within
            )
            yield _Compared(within.after, within.up_to, fits)


class _Compared(NamedTuple):
    after: int
    up_to: int
    fits: bool


class _TextRows:
    """The rows of a range as `COPY` gives them: large pieces of text, read ahead by one in a thread."""

    def __init__(self, url: str, parameters: dict[str, Any]) -> None:
        self._url = url
        self._parameters = parameters
        self._opened = ExitStack()
        self._cursor: psycopg.Cursor[Any] | None = None
        self._rows: Iterator[Any] = iter(())
        self._ahead: asyncio.Task[bytes] | None = None
        self.count = 0
        """Known at the end."""
        self.error: psycopg.Error | None = None
        """What broke it off."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            # Who gives up waiting for it does not end the thread.
            piece = await asyncio.shield(self._ahead or self._read_ahead())
        except psycopg.Error as error:
            self.error = error
            raise
        if not piece:
            raise StopAsyncIteration
        self._read_ahead()
        return piece

    async def close(self) -> None:
        """Give the connection back; to be called in any case."""
        if self._ahead is not None:
            await asyncio.gather(self._ahead, return_exceptions=True)
        await asyncio.to_thread(self._close)

    def _read_ahead(self) -> "asyncio.Task[bytes]":
        self._ahead = asyncio.create_task(asyncio.to_thread(self._piece))
        return self._ahead

    def _piece(self) -> bytes:
        if self._cursor is None:
            self._open()
        pieces: list[bytes] = []
        size = 0
        for row in self._rows:
            pieces.append(row)
            size += len(row)
            if size >= _PIECE_BYTES:
                break
        else:
            assert self._cursor is not None
            self.count = max(0, self._cursor.rowcount)
        return b"".join(pieces)

    def _open(self) -> None:
        connection = self._opened.enter_context(closing(psycopg.connect(self._url, **_CONNECTION)))
        self._cursor = connection.cursor()
        self._rows = iter(self._opened.enter_context(self._cursor.copy(_COPY, self._parameters)))

    def _close(self) -> None:
        with suppress(psycopg.Error):
            self._opened.close()


async def _batches(connection: Connection, parameters: dict[str, Any]) -> AsyncIterator[list[LogEvent]]:
    """The events that cannot go as text, in batches of bounded size."""
    batch: list[LogEvent] = []
    size = 0
    cursor = connection.cursor(binary=True)
    async for *columns, leaf in cursor.stream(_OTHERS, parameters, size=_FETCHED_AT_ONCE):
        event = StoredEvent(*columns)
        batch.append(LogEvent(event, leaf))
        size += len(event.data) + len(event.metadata)
        if len(batch) >= _BATCH_EVENTS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
