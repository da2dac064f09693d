"""Metrics (Prometheus) of a process that is no HTTP application: read from its status whenever they are asked
for, and served from a thread of its own.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from eventstore.refusal import Refusal

Told = Mapping[str, tuple[str, float]]
"""By name: what it is, in words, and how much."""


def families(gauges: Told, counters: Told) -> Iterator[Metric]:
    """What goes up and down, then what only grows."""
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(name, text, value=float(value))
    for name, (text, value) in counters.items():
        yield CounterMetricFamily(name, text, value=float(value))


def serve_metrics(collector: Collector, host: str, port: int) -> None:
    """Serve them over HTTP from a thread of its own, as long as the process lives.

    Raises:
        Refusal: that address is not to be had.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise Refusal(f"metrics cannot be served on {host}:{port}: {error.strerror}") from error
