"""Questions to Postgres from a pool of connections, answered or given up in time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domain.shared.errors import Unavailable
from eventstore.committer import is_outage

Parameters = Sequence[Any] | Mapping[str, Any]
"""By place, or by name."""

CONNECTION: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 3,
    # A server that vanished from the network is noticed in some ten seconds, not in hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "erp",
    "options": r"-c timezone=UTC -c statement_timeout=30s -c default_transaction_isolation=read\ committed",
}
# Short, because the pool's pauses between attempts double: the next request then starts a fresh attempt.
_RECONNECT_S: Final = 2.0


class Pool:
    """Connections that come back when the database does; entered to open them.

    Args:
        patience_s: how long a connection is waited for.
        call_timeout_s: how long an answer is waited for, all in all.
    """

    def __init__(
        self,
        url: str,
        *,
        size_max: int,
        patience_s: float = 3.0,
        call_timeout_s: float = 10.0,
        application_name: str = "erp",
    ) -> None:
        self._size_max = size_max
        self._call_timeout_s = call_timeout_s
        self._connections = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size_max,
            kwargs={**CONNECTION, "application_name": application_name},
            open=False,
            timeout=patience_s,
            reconnect_timeout=_RECONNECT_S,
        )

    async def __aenter__(self) -> Self:
        await self._connections.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    async def rows(self, query: str, parameters: Parameters) -> list[Any]:
        """All rows of a short query, or `Unavailable` in time, also when the database says nothing."""
        try:
            async with asyncio.timeout(self._call_timeout_s):
                return await self._ask(query, parameters)
        except TimeoutError as error:
            detail = "The event store does not answer."
            raise Unavailable(detail) from error

    async def _ask(self, query: str, parameters: Parameters) -> list[Any]:
        """All rows of a query.

        After a restart of the database the pool may be full of dead connections: a query that
        meets one is asked again on the next.
        """
        for spare in reversed(range(self._size_max + 1)):
            try:
                async with self._connections.connection() as connection:
                    cursor = connection.cursor(binary=True)
                    await cursor.execute(query, parameters, prepare=True)
                    return await cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError as error:
                if not is_outage(error):
                    raise
                if spare == 0 or isinstance(error, PoolTimeout):
                    detail = "The event store cannot be reached."
                    raise Unavailable(detail) from error
        raise AssertionError
