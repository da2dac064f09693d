"""ClickHouse, as everything here uses it: one ordinary asynchronous client, its errors told apart.

ReadSideDown      it cannot be reached, or is too busy: wait and ask again (503 for whoever asks over HTTP)
StatementFailed   it refuses the statement, with ClickHouse's own code and sentence
Unfit             a StatementFailed by the client: no column holds such values, and nothing was inserted
"""

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aiohttp
import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, StreamFailureError

from domain.shared.errors import Unavailable
from eventstore.one_line import one_line

_CODE: Final = re.compile(r"code:? (\d+)", re.IGNORECASE)
_CONNECT_TIMEOUT_S: Final = 5
_REQUEST_TIMEOUT_S: Final = 300
# What passes by itself: timeouts, too many queries, too many parts, too much memory in use.
_PASSING: Final = frozenset({159, 202, 209, 210, 236, 241, 242, 252, 394})

UNKNOWN_TABLE: Final = 60


class ReadSideDown(Unavailable):
    """ClickHouse cannot be reached right now."""


class StatementFailed(Exception):
    """ClickHouse refuses a statement. `code` is ClickHouse's own, 0 when it gave none."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unfit(StatementFailed):
    """Values that no column of their type can hold."""


class ClickHouse:
    """A client of one server, shared by all tasks of a loop; it connects when it is first needed.

    Args:
        url: a clickhouse-connect DSN; asked again after each failure, for an embedded server may come back
            elsewhere. OSError: not known.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._forget()

    async def ping(self) -> None:
        """Return if it answers.

        Raises:
            ReadSideDown: it does not.
        """
        await self.rows("SELECT 1")

    async def rows(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> list[tuple[Any, ...]]:
        """The rows of a query. Parameters are bound by the server: `{name:Type}`.

        Raises:
            ReadSideDown, StatementFailed: see the module.
        """
        async with self._asked() as client:
            result = await client.query(sql, parameters=_bound(parameters), settings=_given(settings))
            return [tuple(row) for row in result.result_rows]

    async def records(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a query, each by the names of its columns.

        Raises:
            ReadSideDown, StatementFailed: see the module.
        """
        async with self._asked() as client:
            result = await client.query(sql, parameters=_bound(parameters))
            return list(result.named_results())

    async def command(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Carry out a statement that gives no rows; it is done when this returns.

        Raises:
            ReadSideDown, StatementFailed: see the module.
        """
        async with self._asked() as client:
            await client.command(sql, parameters=_bound(parameters), settings=_given(settings))

    async def insert(
        self, table: str, names: Sequence[str], types: Sequence[str], columns: Sequence[Sequence[Any]]
    ) -> None:
        """Insert whole columns; all rows or none, up to a million.

        Raises:
            ReadSideDown, StatementFailed, Unfit: see the module.
        """
        async with self._asked() as client:
            await client.insert(
                table, columns, column_names=names, column_type_names=types, column_oriented=True
            )

    async def insert_raw(self, statement: str, block: bytes) -> None:
        """`INSERT … FORMAT …` with its data as they are.

        Raises:
            ReadSideDown, StatementFailed: see the module.
        """
        async with self._asked() as client:
            await client.command(statement, data=block)

    async def insert_stream(
        self, table: str, names: Sequence[str], form: str, pieces: AsyncIterable[bytes]
    ) -> None:
        """Insert what comes, in a format of ClickHouse's; of pieces that break off nothing is promised.

        Raises:
            ReadSideDown, StatementFailed: see the module.
        """
        async with self._asked() as client:
            await client.raw_insert(table, names, pieces, fmt=form)

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[AsyncClient]:
        try:
            yield await self._connected()
        except ClickHouseError as error:
            raise await self._told_apart(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            await self._forget()
            raise ReadSideDown(one_line(error)) from error

    async def _connected(self) -> AsyncClient:
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await clickhouse_connect.get_async_client(
                        dsn=self._url(),
                        # One session per query: many run at once on this client.
                        autogenerate_session_id=False,
                        connect_timeout=_CONNECT_TIMEOUT_S,
                        send_receive_timeout=_REQUEST_TIMEOUT_S,
                        query_retries=0,
                        tz_mode="aware",
                        compress=False,
                    )
        return self._client

    async def _told_apart(self, error: ClickHouseError) -> Exception:
        text = one_line(error)
        if isinstance(error, DataError):
            return Unfit(0, text)
        found = _CODE.search(text)
        if found is None or isinstance(error, StreamFailureError):
            await self._forget()
            return ReadSideDown(text)
        code = int(found[1])
        return ReadSideDown(text) if code in _PASSING else StatementFailed(code, text)

    async def _forget(self) -> None:
        """The next statement connects anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _bound(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(parameters) if parameters else None


def _given(settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(settings) if settings else None
