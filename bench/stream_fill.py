"""Appends entries as fast as the read side takes them: never more than so many ahead of it.

    python -m bench.stream_fill '{"url": …, "watch_url": …, "tenant": …, "events": 60000, "ahead_max": 10000}'

Through the append function, like every command. The clock runs from the first append until every projection
of finance has the last event.
"""

import sys
import time
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg

from bench.fill import append, requests
from bench.system import standing

_BATCH: Final = 200
_LOOK_EVERY_S: Final = 0.02
_STANDSTILL_S: Final = 60.0


class StandsStill(Exception):
    """The read side goes on no more."""


def run(url: str, watch_url: str, tenant: UUID, events: int, ahead_max: int) -> dict[str, Any]:
    """Append so many entries, and tell how fast they went all the way.

    Raises:
        NotAppended: the store did not take one.
        StandsStill: the read side has not moved for a minute.
    """
    began = time.perf_counter()
    with (
        psycopg.connect(url, autocommit=True) as appending,
        psycopg.connect(watch_url, autocommit=True) as watching,
    ):
        last = 0
        for first in range(0, events, _BATCH):
            last = append(appending, list(requests(tenant, range(first, min(first + _BATCH, events)))))
            _wait_for(watching, last - ahead_max)
        appended_s = time.perf_counter() - began
        _wait_for(watching, last)
    seconds = time.perf_counter() - began
    return {"events": events, "seconds": seconds, "per_s": events / seconds, "appended_s": appended_s}


def _wait_for(connection: "psycopg.Connection[Any]", position: int) -> None:
    """Until every projection has this position."""
    moved_at, before = time.monotonic(), -1
    while (now := standing(connection).projections) < position:
        if now != before:
            moved_at, before = time.monotonic(), now
        if time.monotonic() - moved_at > _STANDSTILL_S:
            raise StandsStill(f"at {now}, before {position}")
        time.sleep(_LOOK_EVERY_S)


def main() -> None:
    """Run as the one argument says."""
    asked = orjson.loads(sys.argv[1])
    told = run(**{**asked, "tenant": UUID(asked["tenant"])})
    print(orjson.dumps(told).decode())


if __name__ == "__main__":
    main()
