"""The table of sagas, made by the SELECT in the file of its name."""

from pathlib import Path
from typing import Final

from projections.declaration import Projection

_SAGAS: Final = ("inventory_voucher", "order_to_cash", "reservation_expiry")
_EVENTS: Final = ("noticed", "held", "step_done", "step_refused", "step_waits", "timed_out", "aborted")

EVENTS: Final = Projection.of(
    "sagas_events",
    Path(__file__).parent / "events.sql",
    version=1,
    reads={f"sagas.{saga}.{event}": 1 for saga in _SAGAS for event in _EVENTS},
)

SAGAS_PROJECTIONS: Final = (EVENTS,)
