"""The broker of `deploy/compose.yaml`, its settings put to a real one, as its image does."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.kafka.apache import HOST, ApacheKafka

pytestmark = pytest.mark.kafka

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
# For the script that starts it, not for the broker.
NOT_SETTINGS = {"KAFKA_HEAP_OPTS"}


class OfCompose(ApacheKafka):
    """With addresses and a folder of this machine; the rest as it stands."""

    def cluster(self) -> str:
        """As `deploy/new-env` makes it."""
        return "0123456789abcdef012345"

    def settings(self) -> dict[str, object]:
        found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["kafka"]["environment"]
        own = {
            "KAFKA_LISTENERS": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{self.address('CONTROLLER')}",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.bootstrap}",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@{self.address('CONTROLLER')}",
            "KAFKA_LOG_DIRS": str(self.data),
        }
        assert own.keys() <= found.keys()
        return {
            name.removeprefix("KAFKA_").replace("_", ".").lower(): value
            for name, value in (found | own).items()
            if name.startswith("KAFKA_") and name not in NOT_SETTINGS
        }


def test_it_is_where_the_others_look_for_it() -> None:
    services = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    environment = services["kafka"]["environment"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    assert services["relay"]["environment"]["ERP_KAFKA__BOOTSTRAP"] == "kafka:9092"
    (volume,) = services["kafka"]["volumes"]
    assert volume.endswith(f":{environment['KAFKA_LOG_DIRS']}")
    assert HOST in environment["KAFKA_CONTROLLER_QUORUM_VOTERS"]


async def test_it_starts_and_serves_a_group(tmp_path: Path) -> None:
    """Whose members say as often as the worker's that they live."""
    node = OfCompose(tmp_path)
    try:
        node.start()
        node.make_topics({"one": 2})
        async with (
            AIOKafkaProducer(bootstrap_servers=node.bootstrap, enable_idempotence=True) as producer,
            AIOKafkaConsumer(
                "one",
                bootstrap_servers=node.bootstrap,
                group_id="group",
                session_timeout_ms=6000,
                heartbeat_interval_ms=1000,
                auto_offset_reset="earliest",
            ) as consumer,
        ):
            await producer.send_and_wait("one", b"hello")
            assert (await consumer.getone()).value == b"hello"
            await consumer.commit()
    finally:
        node.stop()
