"""The saga worker's metrics (Prometheus), read from its status whenever they are asked for."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from erp.metrics import families
from sagas.status import BOUNDS_S, Durations
from sagas.worker import SagaWorker

_UP_TO: Final = (*map(str, BOUNDS_S), "+Inf")


class SagaMetrics(Collector):
    """What came, what sagas made of it, how fast, and what is left to a person."""

    def __init__(self, worker: SagaWorker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        now, consuming, feed = self._worker.status, self._worker.consuming, self._worker.feed
        gauges = {
            "erp_saga_kafka_connected": ("Whether it is connected to Kafka.", consuming.kafka_connected),
            "erp_saga_partitions": ("Partitions that are assigned to it.", consuming.partitions),
            "erp_saga_in_flight": ("Events that sagas are at.", now.in_flight),
            "erp_saga_healer": ("Whether it fetches what is late from the store.", now.is_healer),
            "erp_saga_position": ("Every event up to it is dealt with, as the healer knows.", now.position),
            "erp_saga_lag_seconds": ("For how long the event after that has been recorded.", now.lag_s),
            "erp_saga_dead_letters": ("Dead letters that are open, as the healer knows.", now.letters),
        }
        counters = {
            "erp_saga_messages": ("Messages taken from Kafka.", feed.messages),
            "erp_saga_unreadable_messages": ("Messages that are none of ours.", feed.unreadable),
            "erp_saga_dropped_events": ("Events that are not the store's.", now.dropped),
            "erp_saga_repeated_events": ("Events that came once more.", now.repeats),
            "erp_saga_heard_events": ("Events that sagas were told of.", now.heard),
            "erp_saga_refilled_events": (
                "Events missing in Kafka, read from the store.",
                now.refilled,
            ),
            "erp_saga_healed_events": ("Events that were late, read from the store.", now.healed),
            "erp_saga_steps_done": ("Commands that were carried out.", now.done),
            "erp_saga_steps_refused": ("Commands that were refused.", now.refused),
            "erp_saga_steps_waiting": ("Tries of commands that have to wait.", now.waits),
            "erp_saga_conflicts": ("Times that another worker was faster.", now.conflicts),
            "erp_saga_timers": ("Timers that came, retries of waiting steps included.", now.timers),
            "erp_saga_timer_failures": ("Timers that could not be dealt with.", now.timer_failures),
            "erp_saga_parked_events": ("Events put aside as dead letters.", now.parked),
            "erp_saga_streams": ("Consumers started, one after the other.", consuming.streams),
        }
        yield from families(gauges, counters)
        yield _histogram("erp_saga_hearing_seconds", "From an event's recording to its saga.", now.hearing)
        yield _histogram("erp_saga_turn_seconds", "What a saga took to do all it could.", now.turn)
        yield _histogram("erp_saga_timer_lateness_seconds", "Of timers.", now.lateness)


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    counts = accumulate(durations.counts)
    buckets = [(up_to, float(count)) for up_to, count in zip(_UP_TO, counts, strict=True)]
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=durations.total_s)
