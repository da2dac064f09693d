"""A relay on a Unix socket between a client and Postgres that fails on demand, at the moments that matter."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

# The packed parameter of `erp.append_events` starts with this.
_APPEND: Final = b'{"requests":'
# ReadyForQuery, idle: what Postgres says after the commit.
_READY: Final = b"Z\x00\x00\x00\x05I"


class Proxy:
    """Passes bytes both ways, until told to break."""

    port: Final = 5432

    def __init__(self, server: Path, folder: Path) -> None:
        self.folder = folder
        self._server = server
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._sessions: set[asyncio.Task[None]] = set()
        self._lose_requests = 0
        self._lose_answers = 0
        self.appends_seen = 0

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Take connections."""
        path = self.folder / f".s.PGSQL.{self.port}"
        self._listener = await asyncio.start_unix_server(self._accept, path)

    async def down(self) -> None:
        """Cut every connection and take no new ones, as a server that is gone."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        (self.folder / f".s.PGSQL.{self.port}").unlink(missing_ok=True)
        for writer in self._writers:
            writer.close()
        while self._sessions:
            await asyncio.wait(self._sessions)

    def lose_requests(self, count: int) -> None:
        """Cut the connection when an append arrives, before Postgres hears of it; do so `count` times."""
        self._lose_requests = count

    def lose_answers(self, count: int) -> None:
        """Cut the connection when Postgres has committed an append, before the client hears of it;
        `count` times.
        """
        self._lose_answers = count

    def _accept(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        session = asyncio.create_task(self._session(client_reader, client_writer))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)

    async def _session(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        writers = {client_writer, server_writer}
        self._writers |= writers
        append_under_way = asyncio.Event()
        ways = {
            asyncio.create_task(self._forward(client_reader, server_writer, append_under_way)),
            asyncio.create_task(self._back(server_reader, client_writer, append_under_way)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers -= writers
            for writer in writers:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _forward(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, append_under_way: asyncio.Event
    ) -> None:
        while message := await client.read(1 << 20):
            if _APPEND in message:
                self.appends_seen += 1
                if self._lose_requests:
                    self._lose_requests -= 1
                    return
                append_under_way.set()
            server.write(message)
            await server.drain()

    async def _back(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, append_under_way: asyncio.Event
    ) -> None:
        while message := await server.read(1 << 20):
            if append_under_way.is_set() and self._lose_answers:
                if message.endswith(_READY):
                    self._lose_answers -= 1
                    return
                continue
            if message.endswith(_READY):
                append_under_way.clear()
            client.write(message)
            await client.drain()
