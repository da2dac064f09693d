"""The embedded Kafka broker of a home: librdkafka's own, a process of its own on loopback, in memory.

It forgets everything when it stops, which is fine: Kafka is never the truth here. It comes back at the port
that it had, so clients find it again; the address is recorded in `kafka.json`, for the first start chooses
it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from erp.embedded.server import ServerError, SharedServer

RECORD = "kafka.json"
USERS_LOCK = "kafka.lock"

_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 10


class KafkaError(ServerError):
    """The embedded Kafka cannot be started or found; the text is one line for a person."""


class EmbeddedKafka(SharedServer):
    """One process's use of the broker of a home: `with EmbeddedKafka(home, topics) as broker: …`.

    `topics`, with their partition counts, are made when the broker starts, by whoever starts it: it cannot
    make any later on request, and gives four partitions to a topic that it did not know.
    """

    name = "kafka"
    error = KafkaError

    def __init__(self, home: Path, topics: Mapping[str, int] | None = None) -> None:
        super().__init__(home)
        self._topics = dict(topics or {})

    @property
    def bootstrap(self) -> str:
        """Its `host:port`, or where it was when it last ran.

        Raises:
            KafkaError: it never ran in this home.
        """
        try:
            return str(self._record()["bootstrap"])
        except KeyError:
            raise KafkaError(f"no Kafka broker has run in {self.home}: start `erp up`") from None

    def pid(self) -> int | None:
        """The broker's process, None when there is none. A zombie or a reused pid is none."""
        record = self._record()
        try:
            process = psutil.Process(record["pid"])
            gone = (
                process.status() == psutil.STATUS_ZOMBIE or process.create_time() != record["pid_created_at"]
            )
        except (KeyError, psutil.Error):
            return None
        return None if gone else process.pid

    def _start(self) -> None:
        if self.is_alive():
            return
        # It goes into the background by itself and is ready when this returns.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "erp.embedded.kafka_broker", str(self.home)],
            input=json.dumps(self._topics),
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_TIMEOUT_S,
        )
        if done.returncode:
            words = " ".join(done.stderr.split())[-300:] or f"exit code {done.returncode}"
            raise KafkaError(f"Kafka does not start: {words} ({self.home / 'kafka.log'})")

    def _stop(self) -> None:
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        number = signal.SIGTERM
        # Not until it is reaped, which is for others to do and may take them seconds.
        while (pid := self.pid()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            time.sleep(0.02)
            if time.monotonic() > deadline:
                number = signal.SIGKILL

    def _record(self) -> dict[str, Any]:
        return read_record(self.home)


def read_record(home: Path) -> dict[str, Any]:
    """What the broker has written of itself: bootstrap, pid, pid_created_at. Empty when it never ran."""
    try:
        record: dict[str, Any] = json.loads((home / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record


def write_record(home: Path, **record: str | float | None) -> None:
    """Replace it whole, so that no reader ever meets half of one."""
    new = home / f"{RECORD}.new"
    new.write_text(json.dumps(record))
    new.replace(home / RECORD)


def own_pid() -> dict[str, float]:
    """This process, in a form that a reused pid does not match."""
    return {"pid": os.getpid(), "pid_created_at": psutil.Process().create_time()}
