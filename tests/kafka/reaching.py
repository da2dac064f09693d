"""How a process of a test reaches the broker of the test: told as one word on its command line."""

from pathlib import Path
from typing import Final

from erp.embedded.kafka import EmbeddedKafka, KafkaError
from eventstore.publisher import KafkaOptions
from eventstore.streaming import StreamOptions
from tests.kafka.broker import Broker, EmbeddedBroker

_SESSION_TIMEOUT_S: Final = 2.0
# Apache Kafka refuses less.
_REAL_SESSION_TIMEOUT_S: Final = 6.0


def word_for(broker: Broker) -> str:
    """The home of an embedded broker, the address of a real one."""
    return str(broker.server.home) if isinstance(broker, EmbeddedBroker) else broker.bootstrap


def reach(word: str, stream: StreamOptions) -> tuple[KafkaOptions, StreamOptions]:
    """The broker of that word, and how a group consumes from it."""
    if not Path(word).is_absolute():
        return KafkaOptions(bootstrap=lambda: word), stream._replace(
            session_timeout_s=_REAL_SESSION_TIMEOUT_S
        )
    broker = EmbeddedKafka(Path(word))

    def bootstrap() -> str:
        try:
            return broker.bootstrap
        except KafkaError as error:
            raise ConnectionError(str(error)) from None

    return KafkaOptions(bootstrap=bootstrap), stream._replace(
        session_timeout_s=_SESSION_TIMEOUT_S, broker=broker.pid
    )
