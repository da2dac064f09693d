"""`erp demo`: the tour, through the system that runs here or through one of its own.

Its own lives in a temporary folder and ends with the tour. In a system that runs here the tour makes a tenant
of its own, which stays: nothing is ever removed from the log.
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
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from erp.cli import Failure
from erp.settings import Settings, load_settings

_READY_TIMEOUT_S = 60
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
        tenant = f"tour-{secrets.token_hex(4)}"

        def token(user: str) -> str:
            return issue_token(settings, tenant=tenant, user=user, roles=(PEOPLE[user],), ttl_s=_TOKEN_TTL_S)

        tour = Story(address.host, address.port, tenant, token, _erp)
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
    with _own_home() as own, _own_api(own) as address:
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
def _own_api(settings: Settings) -> Iterator[_Address]:
    """The API over an embedded Postgres, stopped at the end."""
    from erp.embedded.supervisor import Child

    click.echo("starting a system for the tour, in a temporary folder (`erp up` does not run here)")
    address = _Address(settings.http.host, settings.http.port)
    with Child(settings, "api", "the API") as api:
        api.start()
        _wait_until_ready(address, api.is_alive)
        yield address
        click.echo("\nstopping it again")


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
