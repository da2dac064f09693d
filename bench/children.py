"""Child processes of the bench: each is ended by its own pid, whatever ends the bench.

They run in sessions of their own, so Ctrl-C reaches the bench alone, which then ends them in order.
"""

import gc
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import orjson
import psutil
import uvloop

P = TypeVar("P")

ROOT: Final = Path(__file__).resolve().parent.parent
_READY_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 30.0


class ChildFailed(Exception):
    """A child did not do its part; the text says which and why."""


def ask(module: str, *, timeout_s: float, **question: Any) -> dict[str, Any]:
    """What `python -m module '<question as JSON>'` prints, as JSON.

    Raises:
        ChildFailed: it ended with an error, or did not end in time.
    """
    with asking(module, timeout_s=timeout_s, **question) as answer:
        found: dict[str, Any] = answer()
    return found


@contextmanager
def asking(module: str, *, timeout_s: float, **question: Any) -> Iterator[Any]:
    """The same in the background for the duration of the block; call what is yielded for the answer."""
    with spawned(
        [sys.executable, "-m", module, orjson.dumps(question).decode()], stdout=subprocess.PIPE
    ) as child:

        def answer() -> dict[str, Any]:
            try:
                out, _ = child.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise ChildFailed(f"{module} did not end in {timeout_s:.0f} s") from None
            if child.returncode:
                raise ChildFailed(f"{module} ended with code {child.returncode}")
            found: dict[str, Any] = orjson.loads(out)
            return found

        yield answer


def carry_out(plan: Callable[..., P], run: Callable[[P], Coroutine[Any, Any, Any]]) -> None:
    """In a child that was asked: run the plan given as its one argument, and print its outcome as JSON."""
    asked = plan(**orjson.loads(sys.argv[1]))
    gc.disable()  # nothing there makes many cycles, and a pause would be taken for the system's
    print(orjson.dumps(uvloop.run(run(asked))).decode())


class Server:
    """An `erp api` process, or one that stands for it, ready to be asked."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self._process = psutil.Process(process.pid)
        self.port = port

    def cpu_s(self) -> float:
        """Processor time of the process and of its workers, so far."""
        return sum(cpu_s_of(each) for each in (self._process, *self._process.children(recursive=True)))


@contextmanager
def serving(module: str, environment: Mapping[str, str], *, workers: int = 1) -> Iterator[Server]:
    """`python -m module api …` on a free port of 127.0.0.1, from the first sign of readiness.

    Raises:
        ChildFailed: it ended, or was not ready in time.
    """
    port = free_port()
    theirs, ours = os.pipe()
    arguments = ["api", "--port", str(port), "--workers", str(workers), "--lifeline", str(theirs)]
    try:
        with spawned(
            [sys.executable, "-m", module, *arguments], environment=environment, pass_fds=(theirs,)
        ) as child:
            until_ready(child, port, module)
            yield Server(child, port)
    finally:
        os.close(ours)
        os.close(theirs)


@contextmanager
def spawned(
    command: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | None = None,
    pass_fds: tuple[int, ...] = (),
    stop_timeout_s: float = _STOP_TIMEOUT_S,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A child for the duration of the block: told to end then, killed if it does not.

    It gets this environment, and of ours everything but settings.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ERP_")}
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**clean, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(stop_timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def until_ready(child: "subprocess.Popen[bytes]", port: int, module: str) -> None:
    """Return when the API on this port is ready.

    Raises:
        ChildFailed: the child ended, or it is not ready in time.
    """
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ChildFailed(f"{module} ended at its start, with code {child.returncode}")
        if _is_ready(port):
            return
        time.sleep(0.05)
    raise ChildFailed(f"{module} is not ready after {_READY_TIMEOUT_S:.0f} s")


def _is_ready(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s_of(process: psutil.Process) -> float:
    """Processor time of a process so far; 0 when it is gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
