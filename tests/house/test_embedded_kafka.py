"""The embedded broker: who starts it, who stops it, and what clients notice when it is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from erp.embedded.kafka import EmbeddedKafka, KafkaError
from erp.embedded.server import kept_up
from tests.waiting import until

pytestmark = pytest.mark.integration

TOPICS = {"erp.one": 3, "erp.two": 7}

USER = """
import sys
from pathlib import Path
from erp.embedded.kafka import EmbeddedKafka
with EmbeddedKafka(Path(sys.argv[1]), {"erp.one": 3}):
    print("in", flush=True)
    sys.stdin.read()
"""


def another_process(home: Path) -> subprocess.Popen[bytes]:
    """A second user of the home's broker, in once this returns; it leaves when its stdin closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    return process


def kill(broker: EmbeddedKafka) -> None:
    pid = broker.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not broker.is_alive())


@asynccontextmanager
async def producing(bootstrap: str) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def read_one(bootstrap: str, to: TopicPartition) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([to])
        value: bytes = (await consumer.getone()).value
        return value
    finally:
        await consumer.stop()


async def test_topics_have_the_partitions_that_were_asked_for_and_keep_what_is_sent(home: Path) -> None:
    with EmbeddedKafka(home, TOPICS) as broker:
        async with producing(broker.bootstrap) as producer:
            for topic, partitions in TOPICS.items():
                assert await producer.partitions_for(topic) == set(range(partitions))
            await producer.send_and_wait("erp.two", b"hello", partition=6)
        assert await read_one(broker.bootstrap, TopicPartition("erp.two", 6)) == b"hello"


def test_it_listens_on_loopback_only(home: Path) -> None:
    with EmbeddedKafka(home, TOPICS) as broker:
        pid = broker.pid()
        listening = [
            each.laddr.ip for each in psutil.Process(pid).net_connections() if each.status == "LISTEN"
        ]
    assert set(listening) == {"127.0.0.1"}
    assert broker.bootstrap.startswith("127.0.0.1:")


def test_a_second_user_attaches_and_the_last_one_out_stops_it(home: Path) -> None:
    with EmbeddedKafka(home, TOPICS) as first:
        pid = first.pid()
        second = another_process(home)
        assert first.pid() == pid
    assert first.pid() == pid, "the second user is still in"
    second.communicate(timeout=20)
    assert first.pid() is None


def test_a_broker_whose_users_were_all_killed_ends(home: Path) -> None:
    killed = another_process(home)
    broker = EmbeddedKafka(home)
    assert broker.is_alive()
    killed.kill()
    killed.communicate(timeout=20)
    until(lambda: not broker.is_alive())


def test_users_that_come_and_go_at_once_always_have_one(home: Path) -> None:
    """Also while the broker finds that it is alone and ends."""
    for pause_s in (0, 0.9, 1.0, 1.1):
        killed = another_process(home)
        killed.kill()
        killed.communicate(timeout=20)
        time.sleep(pause_s)
        with EmbeddedKafka(home) as broker:
            host, _, port = broker.bootstrap.partition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
            time.sleep(0.2)
            assert broker.is_alive()


async def test_a_killed_broker_comes_back_empty_where_it_was_and_clients_find_it(home: Path) -> None:
    with EmbeddedKafka(home, TOPICS) as broker:
        bootstrap = broker.bootstrap
        async with producing(bootstrap) as producer:
            await producer.send_and_wait("erp.one", b"lost", partition=0)
            kill(broker)
            assert broker.ensure_running()
            assert not broker.ensure_running(), "it is there already"
            assert broker.bootstrap == bootstrap
            await producer.send_and_wait("erp.one", b"kept", partition=0)
        assert await read_one(bootstrap, TopicPartition("erp.one", 0)) == b"kept"


def test_it_moves_where_its_port_is_taken(home: Path) -> None:
    with EmbeddedKafka(home, TOPICS) as broker:
        before = broker.bootstrap
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(before.rpartition(":")[2])))
        other.listen()
        with EmbeddedKafka(home, TOPICS) as broker:
            assert broker.bootstrap != before


def test_it_is_kept_up(home: Path) -> None:
    with EmbeddedKafka(home, TOPICS) as broker, kept_up(broker, interval_s=0.05):
        pid = broker.pid()
        kill(broker) if pid else None
        until(lambda: broker.pid() not in {None, pid})


def test_where_none_has_run_is_one_line(home: Path) -> None:
    with pytest.raises(KafkaError, match="no Kafka broker has run in"):
        _ = EmbeddedKafka(home).bootstrap


def test_why_it_does_not_start_is_one_line(home: Path) -> None:
    (home / "kafka.json.new").mkdir(parents=True)
    with (
        pytest.raises(KafkaError, match=r"Kafka does not start: .*Is a directory") as refused,
        EmbeddedKafka(home, TOPICS),
    ):
        pass
    assert "\n" not in str(refused.value)


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KafkaError, match="Not a directory"), EmbeddedKafka(tmp_path / "file" / "home"):
        pass
