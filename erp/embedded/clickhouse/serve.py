"""The server's process: one on a home, found by its lock, gone when nobody uses it any more.

It leaves its starter behind (a process in between waits until it is ready), so that it outlives whoever
happened to come first. Killed at any moment it loses nothing that it has acknowledged: an acknowledged row
is in a file of the folder, which the system keeps, and unfinished parts are dropped at the next start.
"""

import asyncio
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import uvicorn
import uvloop

from erp.embedded.clickhouse import place
from erp.embedded.clickhouse.engine import Engine
from erp.embedded.clickhouse.handler import Handler

# A user who leaves gives the folder up and the next one starts a server: the old one may still be ending.
_LOCK_TIMEOUT_S = 30
_WATCH_S = 1.0
_DRAIN_S = 10
_LOG_BYTES_MAX = 10 * 1024 * 1024


_HELD: list[IO[bytes]] = []

_log = logging.getLogger(__name__)


def run(home: Path, told: int) -> int:
    """Serve until told to stop or used by nobody; the pipe `told` hears READY, or why not. The exit code."""
    try:
        _leave(home)
        _serve(home, told)
    except Exception as error:  # noqa: BLE001  # whatever it is, whoever started us must hear of it
        _log.exception("the server ends")
        with suppress(OSError):
            os.write(told, " ".join(str(error).split()).encode())
        return 1
    return 0


def _leave(home: Path) -> None:
    """A session of its own, and the log in place of the starter's terminal."""
    os.setsid()
    # Parts, pipes and threads of many queries at once; the usual soft limit is 1024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # where "unlimited" cannot be had
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    file = place.log(home)
    if file.exists() and file.stat().st_size > _LOG_BYTES_MAX:
        file.replace(file.with_suffix(".log.1"))
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(nothing)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


def _serve(home: Path, told: int) -> None:
    # uvicorn raises the signal that ended it once more; by then we are closing the engine.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    with _only_one(home):
        listening, address = place.listen(home)
        instance = place.instance(home)
        engine = Engine(home)
        try:
            engine.one(f"CREATE OR REPLACE FUNCTION erpInstance AS () -> toUUID('{instance}')")
            handler = Handler(engine, password=address.password, server=instance)
            server = _Server(handler, told)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_until_told(server, home, listening))
            handler.close()
        finally:
            engine.close()
        _log.info("stopped")


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """The server's lock, with our pid inside; a server that is just ending is waited for."""
    with (home / "clickhouse.server.lock").open("a+") as lock:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while not _taken(lock):
            if time.monotonic() > deadline:
                raise RuntimeError(f"another server runs on {place.data_dir(home)}")
            time.sleep(0.05)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class _Server(uvicorn.Server):
    """uvicorn, which tells when it serves."""

    def __init__(self, handler: Handler, told: int) -> None:
        config = uvicorn.Config(
            handler,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            # Clients keep connections for long, and repeat no INSERT on one that was closed under it.
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, then let the starter go."""
        await super().startup(sockets)
        with suppress(BrokenPipeError):  # it was killed; whoever comes next finds us
            os.write(self._told, place.READY.encode())
        os.close(self._told)


async def _until_told(server: _Server, home: Path, listening: socket.socket) -> None:
    _log.info("serving on port %s", listening.getsockname()[1])
    watch = asyncio.create_task(_end_unused(home, server))
    await server.serve(sockets=[listening])
    watch.cancel()


async def _end_unused(home: Path, server: _Server) -> None:
    """End when nobody uses the server: its users were killed and could not stop it."""
    # Held open to the end of the process: whoever wants to start a server waits until this one has gone.
    start = (home / "clickhouse.start.lock").open("ab")
    users = (home / "clickhouse.lock").open("ab")
    _HELD.extend((start, users))
    while not (_taken(start) and _taken(users)):
        fcntl.flock(start, fcntl.LOCK_UN)
        await asyncio.sleep(_WATCH_S)
    _log.info("nobody uses this server any more")
    server.should_exit = True


def _taken(lock: IO[Any]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
