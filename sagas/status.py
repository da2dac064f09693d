"""What a saga worker has done, for its metrics."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Durations:
    """How often something took so long: counts by `BOUNDS_S`, the last for all that took longer."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def note(self, seconds: float) -> None:
        """Once more."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


@dataclass
class SagaWorkerStatus:
    """Counted since the worker started."""

    dropped: int = 0
    """Events that are not what was hashed; they come from the store."""
    repeats: int = 0
    """Events that came once more."""
    heard: int = 0
    """Events that some saga was told of."""
    refilled: int = 0
    """Events that Kafka did not bring, fetched at once from the store."""
    healed: int = 0
    """Events that were late, and fetched from the store."""
    in_flight: int = 0
    position: int = 0
    """Everything up to it is dealt with, as this worker knows."""
    lag_s: float = 0.0
    """Of the event after it: for how long it has been in the log. The healer looks at what is late only, so
    this is about that long when all is well.
    """
    is_healer: bool = False
    done: int = 0
    refused: int = 0
    waits: int = 0
    """Tries of steps that ended so."""
    conflicts: int = 0
    """Times that another worker was faster."""
    timers: int = 0
    timer_failures: int = 0
    parked: int = 0
    """Events that were put aside as dead letters."""
    letters: int = 0
    """Dead letters that are open, as far as it was looked at."""
    hearing: Durations = field(default_factory=Durations)
    """From the recording of an event until a saga is told."""
    turn: Durations = field(default_factory=Durations)
    """Until a saga has done all it can about what it was told."""
    lateness: Durations = field(default_factory=Durations)
    """Of timers."""
