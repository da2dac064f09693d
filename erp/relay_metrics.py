"""The relay's metrics (Prometheus), read from its status whenever they are asked for."""

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from erp.metrics import families
from eventstore.relay import RelayStatus


class RelayMetrics(Collector):
    """Position, lag and what was sent."""

    def __init__(self, status: RelayStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        now = self._status
        gauges = {
            "erp_relay_active": ("Whether this relay is the active one.", now.active),
            "erp_relay_kafka_connected": ("Whether it is connected to Kafka.", now.kafka_connected),
            "erp_relay_position": ("Every event up to it is in Kafka.", now.position),
            "erp_relay_log_position": ("The last position of the log.", now.last_position),
            "erp_relay_lag_events": ("Events not yet in Kafka.", max(0, now.last_position - now.position)),
            "erp_relay_lag_seconds": ("For how long the oldest of them has been waiting.", now.lag_s),
            "erp_relay_tree_size": ("Events folded into the Merkle tree.", now.tree_size),
            "erp_relay_signed_size": ("Events that the last signed tree head covers.", now.signed_size),
        }
        counters = {
            "erp_relay_events": ("Events sent, repeats included.", now.events),
            "erp_relay_messages": ("Messages sent, repeats included.", now.messages),
            "erp_relay_bytes": ("Their bytes before compression.", now.bytes),
            "erp_relay_kafka_failures": ("Times that Kafka was lost.", now.kafka_failures),
        }
        yield from families(gauges, counters)
