"""`erp up` as a person runs it: one to a home, watched, drained, and nothing left behind."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from erp.embedded.postgres import EmbeddedPostgres

pytestmark = pytest.mark.e2e

START_TIMEOUT_S = 60


class Running:
    """A process of ours, gone after the block; its output is in a file: it never waits for a reader."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.log = home.parent / f"{arguments[0]}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "erp", *arguments],
                env={**os.environ, "ERP_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def output(self) -> str:
        return self.log.read_text()

    def api(self) -> psutil.Process | None:
        """The API child of a supervisor; what it starts for a moment, such as pg_ctl, is passed over."""
        for child in psutil.Process(self.process.pid).children():
            try:
                if "api" in child.cmdline():
                    return child
            except psutil.Error:
                continue
        return None

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def until(happened: Callable[[], bool], running: Running | None = None) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not happened():
        assert time.monotonic() < deadline, running and running.output()
        assert running is None or running.process.poll() is None, running.output()
        time.sleep(0.05)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def up(home: Path, port: int) -> Iterator[Running]:
    with Running(home, "up", "--port", str(port)) as running:
        until(lambda: "Try it" in running.output(), running)
        yield running


def test_ctrl_c_stops_everything_in_order(up: Running, home: Path, port: int) -> None:
    child = up.api()
    assert child is not None
    assert is_ready(port)
    assert up.end(signal.SIGINT) == 0
    assert up.output().rstrip().endswith(f"stopped; your data is in {home}")
    assert not child.is_running()
    assert not EmbeddedPostgres(home).is_alive()
    assert not is_ready(port)


@pytest.mark.slow
def test_ctrl_c_over_and_over_changes_nothing(up: Running, home: Path) -> None:
    """Whoever is impatient gets no sooner end, and no other."""
    for _ in range(200):
        up.process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    assert up.process.wait(60) == 0
    assert up.output().rstrip().endswith(f"stopped; your data is in {home}")


@pytest.mark.slow
@pytest.mark.usefixtures("up")
def test_a_second_one_on_the_same_home_says_so(home: Path, tmp_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "erp", "up", "--port", str(free_port())],
        env={**os.environ, "ERP_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert second.returncode == 1
    assert re.fullmatch(r"erp: `erp up` already runs here \(process \d+, http://\S+\)\n", second.stderr)


def test_a_port_in_use_is_one_line(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Running(home, "up", "--port", port) as running:
            assert running.process.wait(60) == 1
    assert re.fullmatch(
        r"erp: cannot serve on 127\.0\.0\.1:\d+ \(.*\); choose another port: .*\n", running.output()
    )


@pytest.mark.slow
def test_a_killed_postgres_and_a_killed_api_come_back(up: Running, home: Path, port: int) -> None:
    pid = EmbeddedPostgres(home).pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: EmbeddedPostgres(home).pid() not in {None, pid} and is_ready(port), up)

    child = up.api()
    assert child is not None
    child.kill()
    until(lambda: up.api() not in {None, child} and is_ready(port), up)
    assert "starting it again in 0.5 s" in up.output()


@pytest.mark.slow
def test_a_killed_supervisor_leaves_nothing_running(up: Running, home: Path, port: int) -> None:
    child = up.api()
    assert child is not None
    up.process.kill()
    up.process.wait(60)
    until(lambda: not is_ready(port) and not EmbeddedPostgres(home).is_alive())
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
def test_verbs_work_beside_it(up: Running, home: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "erp", "tenant", "list"],
        env={**os.environ, "ERP_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "demo\tEUR\tUTC" in listed.stdout
    assert up.process.poll() is None


def test_the_api_alone_brings_its_own_postgres_and_drains(home: Path, port: int) -> None:
    with Running(home, "api", "--port", str(port), "--workers", "2") as running:
        until(lambda: is_ready(port), running)
        assert running.end(signal.SIGTERM) == 0
    assert not EmbeddedPostgres(home).is_alive()
