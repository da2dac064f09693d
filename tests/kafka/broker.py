"""The broker of a test, whichever it is: librdkafka's own, or a real Apache Kafka."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from erp.embedded.kafka import EmbeddedKafka
from tests.waiting import until


class Broker(ABC):
    """A broker that can be killed, stopped in its tracks and wiped. It is at the same port all the time."""

    keeps_data: bool
    """Whether it has its messages still after a kill -9."""

    @property
    @abstractmethod
    def bootstrap(self) -> str:
        """Its `host:port`."""

    @abstractmethod
    def pid(self) -> int | None:
        """Its process, None when there is none."""

    @abstractmethod
    def start(self) -> None:
        """Start it again, if it is not there; it serves when this returns."""

    @abstractmethod
    def wipe(self) -> None:
        """Every message is lost, while it runs."""

    def kill(self) -> None:
        """kill -9; it is gone when this returns."""
        self._signal(signal.SIGKILL)
        until(lambda: self.pid() is None)

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """It answers nobody while the block runs."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid()
        assert pid is not None
        os.kill(pid, number)


class EmbeddedBroker(Broker):
    """The one that `erp up` runs. It cannot make a topic on request, and forgets all when it ends."""

    keeps_data = False

    def __init__(self, server: EmbeddedKafka) -> None:
        self.server = server

    @property
    def bootstrap(self) -> str:
        return self.server.bootstrap

    def pid(self) -> int | None:
        return self.server.pid()

    def start(self) -> None:
        self.server.ensure_running()

    def wipe(self) -> None:
        self.kill()
        self.start()


@contextmanager
def embedded_broker(topics: Mapping[str, int]) -> Iterator[EmbeddedBroker]:
    """A new one with these topics (and their partition counts), and nothing in them."""
    with TemporaryDirectory(prefix="erp-kafka-") as folder, EmbeddedKafka(Path(folder), topics) as server:
        yield EmbeddedBroker(server)
