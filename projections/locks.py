"""Who may do what on the read side: advisory locks of Postgres sessions, gone with the session."""

import asyncio
import zlib
from typing import Any, Final

import psycopg

from eventstore.refusal import Refusal
from projections.checkpoints import Connection

PROJECTOR: Final = 4712820730
"""Its session moves the watermark, and is the only one that takes anything out of the log copy."""

_REBUILDS: Final = 471282074 << 32
_WREST_TRIES_MAX: Final = 500
_TURN_S: Final = 0.02


_SESSION: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 5,
    "options": "-c timezone=UTC -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5",
}
_NAME_LENGTH_MAX: Final = 63


class StillHeld(Refusal):
    """It could not be wrested from who holds it."""


def rebuild_of(projection: str) -> int:
    """Its session fills the next generation of this projection."""
    return _REBUILDS | zlib.crc32(projection.encode())


async def session(url: str, name: str) -> Connection:
    """A session whose name says who holds what it holds."""
    return await psycopg.AsyncConnection.connect(url, application_name=name[:_NAME_LENGTH_MAX], **_SESSION)


async def try_hold(connection: Connection, lock: int) -> bool:
    """Hold it from now on, if nobody else does."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [lock])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def let_go(connection: Connection, lock: int) -> None:
    """Hold it no longer."""
    await connection.execute("SELECT pg_advisory_unlock(%s)", [lock])


async def holder(connection: Connection, lock: int) -> str | None:
    """The application whose session holds it; None when nobody does."""
    cursor = await connection.execute(
        """SELECT coalesce(nullif(a.application_name, ''), 'the session ' || l.pid)
             FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND l.classid = (%(lock)s::bigint >> 32)::oid
              AND l.objid = (%(lock)s::bigint & 4294967295)::oid""",
        {"lock": lock},
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def wrest(connection: Connection, lock: int) -> None:
    """Hold it from now on: whoever holds it loses its session. A projector takes that as any lost session:
    it stands by, and then looks at everything anew.

    Raises:
        StillHeld: that did not work within some ten seconds.
    """
    for _ in range(_WREST_TRIES_MAX):
        if await try_hold(connection, lock):
            return
        await connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_locks
                WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND classid = (%(lock)s::bigint >> 32)::oid
                  AND objid = (%(lock)s::bigint & 4294967295)::oid""",
            {"lock": lock},
        )
        await asyncio.sleep(_TURN_S)
    raise StillHeld(f"{await holder(connection, lock)} is at work and does not give way: stop it first")
