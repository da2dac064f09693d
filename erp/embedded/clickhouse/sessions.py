"""Sessions: a connection that stays a client's own from one request to the next, with what it made there."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from erp.embedded.clickhouse.engine import Connection, Engine
from erp.embedded.clickhouse.faults import Fault
from erp.embedded.clickhouse.request import Request

SESSIONS_MAX = 1000


@dataclass
class _Session:
    connection: Connection
    expires: float
    busy: bool = True


class Sessions:
    """All of them, by id. Used from the event loop only; what takes time is done in threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions: dict[str, _Session] = {}

    @asynccontextmanager
    async def hold(self, request: Request) -> AsyncIterator[Connection]:
        """The connection of the request's session, for this request alone.

        Raises:
            Fault: the session is busy, or was to exist and does not, or there are too many.
        """
        self.drop_expired()
        assert request.session_id is not None
        session = self._sessions.get(request.session_id)
        if session is None:
            session = await self._begin(request)
        elif session.busy:
            raise Fault.of(
                373, "SESSION_IS_LOCKED", f"Session {request.session_id} is locked by a concurrent client."
            )
        session.busy = True
        try:
            yield session.connection
        finally:
            session.busy = False
            session.expires = time.monotonic() + request.session_timeout_s
            if request.session_ends:
                self._end(request.session_id)

    async def _begin(self, request: Request) -> _Session:
        assert request.session_id is not None
        if request.session_must_exist:
            raise Fault.of(372, "SESSION_NOT_FOUND", f"Session {request.session_id} not found.")
        if len(self._sessions) >= SESSIONS_MAX:
            raise Fault.of(
                202, "TOO_MANY_SIMULTANEOUS_QUERIES", f"Too many sessions. Maximum: {SESSIONS_MAX}."
            )
        connection = self._engine.connect()
        session = _Session(connection, 0.0)
        self._sessions[request.session_id] = session
        return session

    def drop_expired(self) -> None:
        """End the sessions that nobody has used for their time-out."""
        now = time.monotonic()
        for name in [name for name, each in self._sessions.items() if not each.busy and each.expires < now]:
            self._end(name)

    def close(self) -> None:
        """End all that are not in use."""
        for name in [name for name, each in self._sessions.items() if not each.busy]:
            self._end(name)

    def _end(self, name: str) -> None:
        self._sessions.pop(name).connection.close()
