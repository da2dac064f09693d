"""One node of Apache Kafka on loopback, broker and controller in one (KRaft), its data in a temporary folder.

It listens five times: in the clear and with TLS, each with and without a login, and for its controller. It is
configured as a stock broker is, except that it is alone and that consumer groups form and fail fast.
"""

import base64
import random
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from tests.kafka.authority import Authority
from tests.kafka.broker import Broker
from tests.kafka.distribution import DISTRIBUTION, is_complete
from tests.waiting import until

HOST: Final = "127.0.0.1"
USER: Final = "relay"
PASSWORD: Final = uuid4().hex
LISTENERS: Final = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")

_CONTROLLER: Final = "CONTROLLER"
# Below those that the system gives to who connects somewhere: a client that tries a dead broker's port again
# and again is else given that very port one day, and talks to itself.
_PORTS: Final = range(20_000, 30_000)
_JAVA: Final = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_START_TIMEOUT_S: Final = 60
_ADMIN_TIMEOUT_S: Final = 20
_STARTED: Final = "Kafka Server started"
# Of the topics that tests begin with; a stock broker's own bound is 1 MiB.
_MESSAGE_BYTES_MAX: Final = 8 << 20


class ApacheKafka(Broker):
    """The node. `folder` holds its configuration, its data and what it says."""

    keeps_data = True

    def __init__(self, folder: Path) -> None:
        assert is_complete(), "there is no Apache Kafka in .erp/kafka-dist: run it by `make test-kafka`"
        self.folder = folder
        self.data = folder / "data"
        self.authority = Authority(folder)
        self._log = folder / "kafka.log"
        self._ports = dict(zip((*LISTENERS, _CONTROLLER), free_ports(5), strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._configuration = folder / "server.properties"
        self._configuration.write_text("".join(f"{key}={value}\n" for key, value in self.settings().items()))
        self._format()

    @property
    def bootstrap(self) -> str:
        return self.address("PLAINTEXT")

    def address(self, listener: str) -> str:
        """The `host:port` of one of LISTENERS."""
        return f"{HOST}:{self._ports[listener]}"

    def pid(self) -> int | None:
        gone = self._process is None or self._process.poll() is not None
        return None if gone or self._process is None else self._process.pid

    def start(self) -> None:
        if self.pid() is not None:
            return
        self._dismiss_guard()
        said_before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_JAVA, "-cp", _classpath(), "kafka.Kafka", str(self._configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # Ends the node when this process ends, however it does: its end of the pipe closes.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -9 "$0"', str(self._process.pid)], stdin=subprocess.PIPE
        )
        until(
            lambda: self.pid() is None or self._has_said(_STARTED, said_before), "it starts", _START_TIMEOUT_S
        )
        assert self.pid() is not None, f"Apache Kafka does not start: {self._last_words()}"

    def stop(self) -> None:
        """Stop it, if it is there, without waiting for those who use it."""
        self._dismiss_guard()
        if self.pid() is not None:
            self.kill()

    def wipe(self) -> None:
        """Its topics are gone; consumer groups with them."""
        admin = self._admin()
        topics = self.topics()
        for deleted in admin.delete_topics(topics).values() if topics else []:
            deleted.result(_ADMIN_TIMEOUT_S)
        until(lambda: not self.topics())
        groups = [each.group_id for each in admin.list_consumer_groups().result(_ADMIN_TIMEOUT_S).valid]
        for left in admin.delete_consumer_groups(groups).values() if groups else []:
            left.exception(_ADMIN_TIMEOUT_S)  # one that still has members goes when they do

    def topics(self) -> list[str]:
        """The names of those that are not Kafka's own."""
        found = self._admin().list_topics(timeout=_ADMIN_TIMEOUT_S).topics
        return [name for name in found if not name.startswith("__")]

    def make_topics(self, topics: Mapping[str, int], **settings: str | int) -> None:
        """Topics with so many partitions, and settings: `max_message_bytes=…`. They are there afterwards."""
        config = {name.replace("_", "."): str(value) for name, value in settings.items()}
        new = [NewTopic(name, count, 1, config=config) for name, count in topics.items()]
        admin = self._admin()  # which gives up what it was asked for when nobody holds it any more
        for made in admin.create_topics(new).values() if new else []:
            made.result(_ADMIN_TIMEOUT_S)
        until(lambda: set(topics) <= set(self.topics()))

    def replicas(self, topic: str) -> list[int]:
        """How many replicas each partition has."""
        partitions = self._admin().list_topics(topic, timeout=_ADMIN_TIMEOUT_S).topics[topic].partitions
        return [len(each.replicas) for each in partitions.values()]

    def setting_of(self, topic: str, name: str) -> str:
        """A setting of a topic, as the broker says it."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        admin = self._admin()
        found = admin.describe_configs([resource])[resource].result(_ADMIN_TIMEOUT_S)
        return str(found[name].value)

    def drop_messages(self, topic: str, partitions: int) -> None:
        """What is in the topic is gone, as when its time is over; offsets go on from where they were."""
        ends = [TopicPartition(topic, number, OFFSET_END) for number in range(partitions)]
        admin = self._admin()
        for dropped in admin.delete_records(ends).values():
            dropped.result(_ADMIN_TIMEOUT_S)

    def cluster(self) -> str:
        """A name for it: a UUID as Kafka writes one."""
        return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")

    def settings(self) -> dict[str, object]:
        """Its configuration."""
        listening = [f"{name}://{HOST}:{port}" for name, port in self._ports.items()]
        protocols = [f"{name}:{name}" for name in LISTENERS] + [f"{_CONTROLLER}:PLAINTEXT"]
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
        logins: dict[str, object] = {}
        for name in ("sasl_plaintext", "sasl_ssl"):
            logins |= {
                f"listener.name.{name}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                f"listener.name.{name}.plain.sasl.jaas.config": f'{plain} required user_{USER}="{PASSWORD}";',
                f"listener.name.{name}.scram-sha-256.sasl.jaas.config": f"{scram} required;",
                f"listener.name.{name}.scram-sha-512.sasl.jaas.config": f"{scram} required;",
            }
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{self._ports[_CONTROLLER]}",
            "controller.listener.names": _CONTROLLER,
            "listeners": ",".join(listening),
            "advertised.listeners": ",".join(listening[:-1]),
            "listener.security.protocol.map": ",".join(protocols),
            "log.dirs": self.data,
            "auto.create.topics.enable": "false",
            # It may come back when its last life has timed out.
            "broker.session.timeout.ms": 1500,
            "broker.heartbeat.interval.ms": 300,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 3000,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.authority.server_file,
            **logins,
        }

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def _format(self) -> None:
        logins = [
            f"--add-scram={mechanism}=[name={USER},password={PASSWORD}]"
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        ]
        tool = [*_JAVA, "-cp", _classpath(), "kafka.tools.StorageTool"]
        # One argument: every 64th name begins with a dash, and is else taken for an option.
        given = ["format", f"--cluster-id={self.cluster()}", "-c", str(self._configuration), *logins]
        done = subprocess.run(
            [*tool, *given], capture_output=True, text=True, check=False, timeout=_START_TIMEOUT_S
        )
        assert not done.returncode, f"Apache Kafka does not format its folder: {done.stderr[-500:]}"

    def _has_said(self, words: str, after: int) -> bool:
        return words in self._log.read_bytes()[after:].decode(errors="replace")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return " ".join([line for line in lines if "ERROR" in line or "xception" in line][-3:])


@contextmanager
def apache_kafka() -> Iterator[ApacheKafka]:
    """A node with nothing in it, gone afterwards."""
    with TemporaryDirectory(prefix="erp-apache-kafka-", ignore_cleanup_errors=True) as folder:
        node = ApacheKafka(Path(folder))
        try:
            node.start()
            yield node
        finally:
            node.stop()


@contextmanager
def emptied(node: ApacheKafka, topics: Mapping[str, int]) -> Iterator[ApacheKafka]:
    """The node with these topics and nothing in them; it runs again afterwards, whatever was done to it."""
    node.wipe()
    node.make_topics(topics, max_message_bytes=_MESSAGE_BYTES_MAX)
    try:
        yield node
    finally:
        node.start()


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as trying:
            try:
                trying.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            break
    return found


def _classpath() -> str:
    return f"{DISTRIBUTION}/*"
