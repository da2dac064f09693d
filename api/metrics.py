"""What the process counts (Prometheus): requests by route, method and status, latency, commands by outcome.

With PROMETHEUS_MULTIPROC_DIR in the environment before this is imported, several workers count into that
folder, and each of them reports the sum of all.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from projections.reading import Lag

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
# From the commit of one row to a client that is about to give up, in seconds.
_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_LAGS: Final[Sequence[tuple[str, str, Callable[[Lag], float]]]] = (
    ("position", "How far it is.", lambda lag: lag.position),
    ("serving", "Whether it answers: 0 while it is filled for the first time.", lambda lag: lag.is_serving),
    (
        "blocked",
        "Whether an event stops it that it cannot read.",
        lambda lag: lag.blocked_by is not None,
    ),
    ("lag_events", "Events that it lacks and that are due.", lambda lag: lag.events),
    ("lag_seconds", "Time since the first of those was recorded.", lambda lag: lag.seconds),
)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "erp_http_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "erp_http_request_seconds",
            "Time from a request's first byte of header to the end of its answer; a stream's beginning.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "erp_http_requests_in_flight",
            "Requests being worked on.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._streams = Gauge(
            "erp_http_event_streams",
            "Open streams of events.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._commands = Counter(
            "erp_commands",
            "Commands by name and outcome: done, replayed, or the code of the refusal.",
            ("command", "outcome"),
            registry=self._registry,
        )
        # `labels()` checks and locks on each use; the combinations are few, so each is looked up once.
        self._request_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._command_series: dict[tuple[str, str], Counter] = {}

    def request_began(self) -> None:
        """Count it as in flight."""
        self._in_flight.inc()

    def request_landed(self) -> None:
        """Count it as in flight no longer."""
        self._in_flight.dec()

    def stream_began(self) -> None:
        """Count it as open."""
        self._streams.inc()

    def stream_ended(self) -> None:
        """Count it as open no longer."""
        self._streams.dec()

    def request_ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; status 0 is a client that hung up before there was one."""
        series = self._request_series.get((method, route, status))
        if series is None:
            # Methods can be invented by anyone; labels are kept for ever.
            method_label = method if method in _METHODS else "other"
            series = (
                self._requests.labels(method_label, route, str(status)),
                self._seconds.labels(method_label, route),
            )
            if method_label == method:
                self._request_series[method, route, status] = series
        series[0].inc()
        series[1].observe(seconds)

    def command_ended(self, name: str, outcome: str) -> None:
        """Count a command."""
        series = self._command_series.get((name, outcome))
        if series is None:
            series = self._command_series[name, outcome] = self._commands.labels(name, outcome)
        series.inc()

    def exposition(self) -> bytes:
        """All of it in the Prometheus text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)


def read_side_exposition(lags: Sequence[Lag]) -> bytes:
    """How far each projection is (and `log`, the log copy they are made from), in the same format.

    Read from Postgres when it is asked for: it is the same in every process.
    """
    registry = CollectorRegistry()
    registry.register(_Lags(lags))
    return generate_latest(registry)


class _Lags(Collector):
    def __init__(self, lags: Sequence[Lag]) -> None:
        self._lags = lags

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """A gauge each."""
        if not self._lags:
            return
        for name, does, value in _LAGS:
            family = GaugeMetricFamily(f"erp_projection_{name}", does, labels=["projection"])
            for lag in self._lags:
                family.add_metric([lag.projection], value(lag))
            yield family
