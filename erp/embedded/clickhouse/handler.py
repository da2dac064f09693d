"""ClickHouse's HTTP protocol as an ASGI application in front of the engine.

The event loop reads, packs and sends; every statement runs in a thread of its own, joined to the loop by a
pipe, so that a slow client holds its own statement back and nobody else's, and nothing large is in memory.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from erp.embedded.clickhouse import encodings, pipes, statement
from erp.embedded.clickhouse import request as requests
from erp.embedded.clickhouse.answer import Answer, Send
from erp.embedded.clickhouse.engine import DEFAULT_DATABASE, Connection, Engine, Tally
from erp.embedded.clickhouse.faults import Fault
from erp.embedded.clickhouse.request import Request
from erp.embedded.clickhouse.sessions import Sessions
from erp.embedded.clickhouse.statement import Kind, Statement

Receive = Callable[[], Any]

QUERIES_MAX = 64
# Text that is no data is held in memory; the engine itself takes 256 KiB unless max_query_size says more.
STATEMENT_BYTES_MAX = 16 << 20
FORM_BYTES_MAX = 64 << 20
# The statement of an INSERT is looked for in as much as this; its data begin somewhere behind.
_HEAD_BYTES_MAX = 1 << 20
_KILL_AGAIN_S = 0.1

_log = logging.getLogger(__name__)


class ClientGone(Exception):
    """The client has hung up; there is nobody to answer."""


@dataclass
class _Job:
    """A statement on its way, as the loop and the thread both know it."""

    request: Request
    statement: Statement
    session: Connection | None
    tag: str | None = None
    """The connection it runs on, once it does."""
    whole: bool = False
    """INSERT: all data are in the pipe."""


class Handler:
    """The application."""

    def __init__(self, engine: Engine, *, password: str, server: str) -> None:
        self._engine = engine
        self._password = password
        self._server = server
        self._sessions = Sessions(engine)
        self._running = 0
        # Room for everyone who is let in, and for killing them.
        self._threads = ThreadPoolExecutor(QUERIES_MAX + 4, thread_name_prefix="query")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if _is_health_check(scope):
            await _plain(send, 200, b"Ok.\n")
        elif scope["path"] not in {"/", "/query"}:
            await _plain(send, 404, f"There is no handle {scope['path']}\n".encode())
        else:
            await self._answer(scope, headers, receive, send)

    def close(self) -> None:
        """Let go of sessions and threads; statements that still run are not waited for."""
        self._sessions.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(
        self, scope: dict[str, Any], headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        answer = Answer(send, self._server, Request())
        try:
            requests.authenticate(self._password, scope["query_string"], headers)
            request = requests.read(scope["method"], scope["query_string"], headers)
            answer.close()
            answer = Answer(send, self._server, request)
            tally = await self._serve(request, scope["query_string"], _Body(receive, request), answer)
            await answer.finish(tally)
        except Fault as fault:
            await answer.fail(fault)
        except ClientGone:
            pass
        except Exception:  # noqa: BLE001  # whatever it is, the client must hear that its request came to nothing
            _log.exception("a request failed")
            await answer.fail(Fault.of(1002, "UNKNOWN_EXCEPTION", "The embedded server failed; see its log."))
        finally:
            answer.close()

    async def _serve(self, request: Request, query_string: bytes, body: "_Body", answer: Answer) -> Tally:
        """Run the request's statement; its rows go to `answer`."""
        if self._running >= QUERIES_MAX:
            sentence = f"Too many simultaneous queries. Maximum: {QUERIES_MAX}."
            raise Fault.of(202, "TOO_MANY_SIMULTANEOUS_QUERIES", sentence)
        self._running += 1
        try:
            if request.form_type is not None:
                form = await body.whole(FORM_BYTES_MAX)
                request = requests.with_form(request, query_string, form)
            async with aclosing(body.pieces()) as pieces:
                found, data = await _statement(request, pieces)
                if found.writes and not request.may_write:
                    raise Fault.of(164, "READONLY", _READONLY.format(request.method))
                session = nullcontext(None) if request.session_id is None else self._sessions.hold(request)
                async with session as connection:
                    job = _Job(request, found, connection)
                    if found.kind is Kind.INSERT:
                        return await self._insert(job, data, pieces)
                    return await self._read(job, body, answer)
        finally:
            self._running -= 1

    # --- on the event loop ----------------------------------------------------------------------

    async def _read(self, job: _Job, body: "_Body", answer: Answer) -> Tally:
        answer.format = job.statement.format or job.request.default_format
        reading, writing = pipes.pipe()
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._run, job, writing)
        watch = asyncio.create_task(self._kill_when_gone(job, body, work))
        try:
            async for piece in pipes.read(reading):
                await answer.write(piece)
            return await work
        finally:
            watch.cancel()
            os.close(reading)
            # Cancelled from outside: the server ends, and a statement must not outlive its connection.
            while not work.done():
                await self._kill(job)
                await asyncio.sleep(_KILL_AGAIN_S)

    async def _kill_when_gone(self, job: _Job, body: "_Body", work: "asyncio.Future[Tally]") -> None:
        await body.gone()
        if job.statement.kind is not Kind.READ:
            return  # what changes something runs to its end, as with ClickHouse
        while not work.done():
            await self._kill(job)
            await asyncio.sleep(_KILL_AGAIN_S)

    async def _kill(self, job: _Job) -> None:
        if job.tag is not None and job.statement.kind is Kind.READ:
            with suppress(Fault):
                await asyncio.get_running_loop().run_in_executor(self._threads, self._engine.kill, job.tag)

    async def _insert(self, job: _Job, data: bytes, pieces: AsyncIterator[bytes]) -> Tally:
        reading, writing = pipes.pipe()
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._run, job, reading)
        try:
            try:
                await pipes.write(writing, data)
                async for piece in pieces:
                    await pipes.write(writing, piece)
                job.whole = True
            except BrokenPipeError:
                pass  # the engine has refused the data: the thread says why
            finally:
                os.close(writing)
        except BaseException:
            with suppress(Fault):
                await work
            raise
        return await work

    # --- in the statement's thread --------------------------------------------------------------

    def _run(self, job: _Job, descriptor: int) -> Tally:
        """Run the job on a connection, with its end of the pipe, which is closed afterwards."""
        request = job.request
        try:
            with ExitStack() as stack:
                if job.session is not None:
                    connection = job.session
                    connection.prepare(request.database, request.settings)
                else:
                    database = request.database or DEFAULT_DATABASE
                    connection = stack.enter_context(self._engine.connection(database, request.settings))
                job.tag = connection.tag
                with connection.externals(request.externals):
                    return _run_on(connection, job, descriptor)
        finally:
            os.close(descriptor)


def _run_on(connection: Connection, job: _Job, descriptor: int) -> Tally:
    found, request = job.statement, job.request
    if found.kind is Kind.INSERT:
        assert found.format is not None
        connection.bind(request.params)
        return connection.insert_from(descriptor, found.sql, found.format, lambda: job.whole)
    form = found.format or request.default_format
    if found.kind is Kind.READ and connection.parses(found.sql):
        return connection.read_into(descriptor, found.sql, form, found.settings, request.params)
    try:
        # What cannot be parsed goes to the engine too: nobody else can say what is wrong with it.
        tally, data = connection.command(found.sql, form, request.params)
    finally:
        if found.stateful:
            connection.forget()
    rest = memoryview(data)
    with suppress(BrokenPipeError):  # the client has gone; what was to be done is done
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return tally


class _Body:
    """The body of a request, unpacked."""

    def __init__(self, receive: Receive, request: Request) -> None:
        self._receive = receive
        self._decoder = encodings.decoder(request.body_encoding, blocks=request.block_body)
        self._ended = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Piece by piece.

        Raises:
            ClientGone: it has hung up before the end.
            Fault: it cannot be unpacked, or is cut off.
        """
        while not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self._ended = not message.get("more_body", False)
            for piece in self._decoder.feed(message.get("body", b"")):
                yield piece
        self._decoder.finish()

    async def whole(self, bytes_max: int) -> bytes:
        """All of it.

        Raises:
            Fault: it is larger than that.
        """
        data = bytearray()
        async for piece in self.pieces():
            data += piece
            if len(data) > bytes_max:
                raise Fault.of(229, "QUERY_IS_TOO_LARGE", f"The form is larger than {bytes_max} bytes.")
        return bytes(data)

    async def gone(self) -> None:
        """Returns when the client has hung up. The body must have been read, or be of no interest."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _statement(request: Request, pieces: AsyncIterator[bytes]) -> tuple[Statement, bytes]:
    """The statement, out of URL and body, and the first of its data; the rest is still in `pieces`."""
    text = bytearray(request.query)
    if request.query:
        text += b"\n"
    if request.method == "POST" and request.form_type is None:
        async for piece in pieces:
            text += piece
            if len(text) > STATEMENT_BYTES_MAX:
                raise Fault.of(
                    229, "QUERY_IS_TOO_LARGE", f"Larger than {STATEMENT_BYTES_MAX} bytes, and no data."
                )
            if len(text) <= _HEAD_BYTES_MAX:
                found = statement.parse(bytes(text), complete=False)
                if found is not None:
                    return found, bytes(text[found.data_at :])
    found = statement.parse(bytes(text), complete=True)
    assert found is not None, "all there is has been read"
    return found, bytes(text[found.data_at :])


_READONLY = (
    "Cannot execute query in readonly mode. For queries over HTTP, method {} implies readonly. "
    "You should use method POST for modifying queries."
)


def _is_health_check(scope: dict[str, Any]) -> bool:
    if scope["path"] in {"/ping", "/replicas_status"}:
        return True
    return (
        scope["path"] == "/" and scope["method"] in {"GET", "HEAD"} and b"query" not in scope["query_string"]
    )


async def _plain(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/html; charset=UTF-8"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
