"""The process of the embedded Kafka broker: `python -m erp.embedded.kafka_broker HOME`, topics as JSON on
stdin.

It goes into the background once it serves, as a daemon does, and ends at SIGTERM, or when nobody holds the
lock of its users any more, so that a kill -9 of them all leaves nothing running.

The broker is the one that librdkafka brings for tests, inside the wheel of confluent-kafka. What it lacks for
us is a port of our choice: it takes whichever is free, and clients that are told another one after a restart
never come back. So our own listening socket is put in the place of its, and that port is advertised.
"""

import ctypes
import fcntl
import importlib.util
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from erp.embedded.kafka import USERS_LOCK, own_pid, read_record, write_record

_HOST = "127.0.0.1"
_BROKER_ID = 1
_BACKLOG = 128
_LOOK_FOR_USERS_EVERY_S = 1.0
_PRODUCER = 0  # rd_kafka_type_t; the broker needs some client to live in
_ERROR_BYTES = 512
# Groups form at once: nobody starts a hundred consumers here.
_REBALANCE_DELAY_MS = 50


class BrokerFailure(Exception):
    """The broker cannot serve; the text is one line."""


class Broker:
    """librdkafka's own broker, served by a thread of the library from construction to the process's end."""

    def __init__(self, listener: socket.socket, topics: Mapping[str, int]) -> None:
        self._library = _library()
        self._cluster = self._new_cluster()
        bootstraps: bytes = self._call("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, self._cluster)
        self._take_over(int(bootstraps.rpartition(b":")[2]), listener)
        self._call("rd_kafka_mock_group_initial_rebalance_delay_ms", None, self._cluster, _REBALANCE_DELAY_MS)
        for topic, partitions in topics.items():
            failed = self._call(
                "rd_kafka_mock_topic_create", ctypes.c_int, self._cluster, topic.encode(), partitions, 1
            )
            if failed:
                raise BrokerFailure(f"the topic {topic} with {partitions} partitions cannot be made")

    def _new_cluster(self) -> ctypes.c_void_p:
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        conf = self._pointer("rd_kafka_conf_new")
        client = self._pointer("rd_kafka_new", _PRODUCER, conf, error, ctypes.c_size_t(_ERROR_BYTES))
        if client.value is None:
            raise BrokerFailure(error.value.decode(errors="replace"))
        cluster = self._pointer("rd_kafka_mock_cluster_new", client, 1)
        if cluster.value is None:
            raise BrokerFailure("librdkafka cannot make a broker")
        return cluster

    def _take_over(self, port: int, listener: socket.socket) -> None:
        """Put our listening socket in the place of the library's, which nobody knows of yet."""
        listener.setblocking(False)
        for descriptor in _descriptors():
            if _listens_on(descriptor, port):
                os.dup2(listener.fileno(), descriptor, inheritable=False)
                break
        else:
            raise BrokerFailure(f"librdkafka does not listen on its port {port}")
        own_port = ctypes.c_int(listener.getsockname()[1])
        host = _HOST.encode()
        self._call("rd_kafka_mock_broker_set_host_port", None, self._cluster, _BROKER_ID, host, own_port)

    def _pointer(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._call(function, ctypes.c_void_p, *arguments))

    def _call(self, function: str, returns: Any, *arguments: Any) -> Any:
        called = getattr(self._library, function)
        called.restype = returns
        return called(*arguments)


def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("confluent_kafka")
    assert spec is not None, "a dependency of ours"
    package = Path((spec.submodule_search_locations or [""])[0])
    # Where the tools that make wheels put the libraries of one: on Linux, on macOS.
    for folder in (package.with_name("confluent_kafka.libs"), package / ".dylibs"):
        for file in sorted(folder.glob("librdkafka*")):
            return ctypes.CDLL(str(file))
    raise BrokerFailure("this build of confluent-kafka brings no librdkafka of its own")


def _descriptors() -> list[int]:
    return [int(entry.name) for entry in Path("/dev/fd").iterdir()]


def _listens_on(descriptor: int, port: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as theirs:
            listens = theirs.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return bool(listens and theirs.getsockname()[1] == port)
    except (OSError, IndexError):  # no socket, or none with a port
        return False


def _listen(home: Path) -> socket.socket:
    """On the port of last time, so that clients find the broker again; on another where that is taken."""
    last = str(read_record(home).get("bootstrap", "")).rpartition(":")[2]
    for port in (int(last) if last.isdigit() else 0, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
        else:
            return listener
    raise BrokerFailure(f"no port of {_HOST} can be had")


def _serve(home: Path, topics: Mapping[str, int], ready: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who use it
    listener = _listen(home)
    bootstrap = f"{_HOST}:{listener.getsockname()[1]}"

    def end(*_: object) -> NoReturn:
        # At once: there is nothing to keep, and the library's own end may wait for clients.
        write_record(home, bootstrap=bootstrap)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    broker = Broker(listener, topics)  # it serves for as long as it is held
    write_record(home, bootstrap=bootstrap, **own_pid())
    ready()
    with (home / USERS_LOCK).open("ab") as users:
        while broker is not None:
            time.sleep(_LOOK_FOR_USERS_EVERY_S)
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end()  # everybody is gone; who comes now waits for the lock, that is, for our end


def main() -> NoReturn:
    """Serve in the background; return to the caller when the broker can be used, or say why it cannot."""
    home = Path(sys.argv[1])
    topics: dict[str, int] = json.load(sys.stdin)
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        words = os.read(told, 4096).decode(errors="replace")
        if words != "ready":
            os.write(2, (words or "it ended at once").encode())
            os._exit(1)
        os._exit(0)
    os.setsid()
    os.chdir("/")
    _let_go_of_the_terminal(home)
    try:
        _serve(home, topics, lambda: _say(tell, "ready"))
    except (BrokerFailure, OSError) as error:
        _say(tell, str(error))
        os._exit(1)
    raise AssertionError("it serves until it ends")


def _say(tell: int, words: str) -> None:
    with suppress(OSError):
        os.write(tell, words.encode())
        os.close(tell)


def _let_go_of_the_terminal(home: Path) -> None:
    with Path(os.devnull).open("rb") as nothing, (home / "kafka.log").open("ab") as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


if __name__ == "__main__":
    main()
