"""`erp demo`: the tour, through the system that runs here or through one of its own.

Its own lives in a temporary folder and ends with the tour. In a system that runs here the tour makes tenants
of its own, which stay: nothing is ever removed from the log.
"""

import fcntl
import http.client
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from erp.cli import Failure
from erp.settings import Settings, load_settings

_READY_TIMEOUT_S = 60
_SAGA = "saga"
_TOKEN_TTL_S = 3600
_COMMAND_TIMEOUT_S = 3600  # `erp verify` reads the whole log


class _Address(NamedTuple):
    host: str
    port: int


@click.command()
def demo() -> None:
    """A tour of what the system promises; ends with code 1 at the first promise that is not kept."""
    from erp.demo import CHAPTERS, PEOPLE, Story
    from erp.tokens import issue_token
    from erp.tour import BrokenPromise

    settings = load_settings()
    with _system(settings) as (address, settings):

        def token(tenant: str, user: str) -> str:
            return issue_token(settings, tenant=tenant, user=user, roles=(PEOPLE[user],), ttl_s=_TOKEN_TTL_S)

        tour = Story(
            address.host,
            address.port,
            f"tour-{secrets.token_hex(4)}",
            token,
            _erp,
            lambda part: _process(settings.home, part),
        )
        try:
            tour.take(CHAPTERS)
        except BrokenPromise as broken:
            raise Failure(str(broken)) from None
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"the system at {address.host}:{address.port} does not answer: {error}") from None
    click.echo(f"\nThe tour is over: {tour.asked} requests, every answer as promised.")


@contextmanager
def _system(settings: Settings) -> Iterator[tuple[_Address, Settings]]:
    """The system to visit, ready, and the settings that its keys are in."""
    running = _running(settings.home)
    if running is not None:
        click.echo(f"visiting the system that runs here, on http://{running.host}:{running.port}")
        _wait_until_ready(running)
        yield running, settings
        return
    with _own_home() as own, _own_system(own) as address:
        yield address, own


def _running(home: Path) -> _Address | None:
    """Where the `erp up` of this home serves; None when there is none."""
    try:
        with (home / "up.lock").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # held by the one that runs
                said = lock.read()
            else:
                return None
    except FileNotFoundError:
        return None
    found = re.search(r"http://(?P<host>.+):(?P<port>[0-9]+)", said)
    if found is None:
        raise Failure("`erp up` is just starting here; try again when it serves")
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - one is reached on the loopback
    return _Address(everywhere.get(found["host"], found["host"]), int(found["port"]))


@contextmanager
def _own_home() -> Iterator[Settings]:
    """Settings of a fresh embedded home, here and for all processes to come."""
    for name in [name for name in os.environ if name.upper().startswith("ERP_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="erp-tour-") as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            os.environ["ERP_HTTP__PORT"] = str(free.getsockname()[1])
        os.environ["ERP_HOME"] = str(Path(folder).resolve() / "home")
        yield load_settings()


@contextmanager
def _own_system(settings: Settings) -> Iterator[_Address]:
    """A whole system, stopped at the end."""
    click.echo("starting a system for the tour, in a temporary folder (`erp up` does not run here)")
    address = _Address(settings.http.host, settings.http.port)
    # Held open here, for ever empty: the kernel closes it with us, however we end.
    theirs, ours = os.pipe()
    up = subprocess.Popen(
        [sys.executable, "-P", "-m", "erp", "up", "--lifeline", str(theirs)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(theirs,),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        _wait_until_ready(address, lambda: up.poll() is None)
        yield address
        click.echo("\nstopping it again")
    finally:
        up.terminate()
        up.wait()
        os.close(ours)


def _process(home: Path, verb: str) -> int | None:
    """The process of `erp VERB` below the `erp up` of this home; `saga` is the worker of that role."""
    found = re.match(r"process (?P<pid>[0-9]+)", (home / "up.lock").read_text())
    if found is None:
        return None
    for child in psutil.Process(int(found["pid"])).children():
        with suppress(psutil.Error):
            words = child.cmdline()
            if (
                verb in words
                and (verb == _SAGA) == (_SAGA in words)
                and child.status() != psutil.STATUS_ZOMBIE
            ):
                return child.pid
    return None


def _wait_until_ready(address: _Address, is_alive: Callable[[], bool] = lambda: True) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        connection = http.client.HTTPConnection(*address, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == http.client.OK:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        if not is_alive() or time.monotonic() > deadline:
            raise Failure(f"the system at {address.host}:{address.port} does not become ready")
        time.sleep(0.1)


def _erp(*arguments: str) -> tuple[int, str]:
    """`erp` with these arguments, as a person would type it."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "erp", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_COMMAND_TIMEOUT_S,
    )
    return done.returncode, done.stdout
