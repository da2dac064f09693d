"""The worker's metrics (Prometheus), read from its status whenever they are asked for."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from erp.metrics import families
from projections.worker import Worker


class WorkerMetrics(Collector):
    """How far the read side is, what came by Kafka, and how this worker is doing."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now. Positions are those of the one worker that is the projector."""
        intake = self._worker.ingest
        worker, ingest, projector = self._worker.status, intake.status, self._worker.projector.status
        gauges = {
            "erp_worker_kafka_connected": ("Whether it is connected to Kafka.", worker.kafka_connected),
            "erp_worker_partitions": ("Partitions that are assigned to it.", worker.partitions),
            "erp_worker_published_position": ("Every event up to it is in Kafka.", worker.published),
            "erp_worker_projector": ("Whether it brings the projections on.", projector.active),
            "erp_worker_position": ("Every event up to it is in the log copy.", projector.position),
            "erp_worker_log_position": ("The last position of the log.", projector.head),
            "erp_worker_lag_events": (
                "Events not yet in the log copy.",
                max(0, projector.head - projector.position),
            ),
        }
        counters = {
            "erp_worker_messages": ("Messages taken from Kafka.", intake.messages),
            "erp_worker_events": ("Events written to the log copy, repeats included.", ingest.events),
            "erp_worker_known_events": ("Events that came once more, and were passed over.", ingest.known),
            "erp_worker_fetched_events": (
                "Events too large for a message, read from Postgres.",
                ingest.fetched,
            ),
            "erp_worker_dropped_events": ("Events that are not the store's.", ingest.dropped),
            "erp_worker_unreadable_messages": (
                "Messages that are none of ours.",
                intake.unreadable,
            ),
            "erp_worker_ingest_failures": ("Times that ingest lost ClickHouse or Postgres.", ingest.failures),
            "erp_worker_healed_events": ("Events that Kafka did not bring.", projector.healed),
            "erp_worker_hurried_events": (
                "Events that were waited for, and read from Postgres before Kafka brought them.",
                projector.hurried,
            ),
            "erp_worker_streams": ("Consumers started, one after the other.", worker.streams),
        }
        yield from families(gauges, counters)
        yield from self._projections()

    def _projections(self) -> Iterator[Metric]:
        projector = self._worker.projector.status
        position = GaugeMetricFamily(
            "erp_projection_position", "Every event up to it is in the projection.", labels=["projection"]
        )
        lag = GaugeMetricFamily(
            "erp_projection_lag_events", "Events not yet in the projection.", labels=["projection"]
        )
        blocked = GaugeMetricFamily(
            "erp_projection_blocked",
            "Whether it stands before an event that it cannot read.",
            labels=["projection"],
        )
        for name, generation in sorted(projector.projections.items()):
            position.add_metric([name], generation.position)
            lag.add_metric([name], max(0, projector.head - generation.position))
            blocked.add_metric([name], float(generation.blocked_by is not None))
        yield from (position, lag, blocked)
