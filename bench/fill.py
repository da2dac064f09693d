"""Fills a log with posted entries, through the append function like every command, in large batches.

    python -m bench.fill '{"url": …, "tenant": …, "first": 0, "events": 500000}'

Each event is the one event of an entry of its own, with its own stream, idempotency key and document number,
so the filled log has the shape that as many commands would have given it.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from uuid_utils.compat import uuid7

from bench import entries
from eventstore.request import APPEND, AppendRequest, Check, NewEvent, pack, unpack

_BATCH: Final = 1000
_STREAM_TYPE: Final = "finance.journal_entry"


class NotAppended(Exception):
    """The store did not take what it should have taken."""


def fill(url: str, tenant: UUID, first: int, events: int) -> dict[str, Any]:
    """Append entries `first` to `first + events`.

    Raises:
        NotAppended: one of them was not appended.
    """
    began = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        for start in range(first, first + events, _BATCH):
            append(connection, list(requests(tenant, range(start, min(start + _BATCH, first + events)))))
    seconds = time.perf_counter() - began
    return {"events": events, "seconds": seconds, "per_s": events / seconds}


def append(connection: "psycopg.Connection[Any]", batch: Sequence[AppendRequest]) -> int:
    """Append the entries of a batch, and return the last position.

    Raises:
        NotAppended: one of them was not appended.
    """
    answer = connection.execute(APPEND, [pack(batch).decode()], prepare=True).fetchone()
    receipts = unpack(batch, answer[0] if answer else "[]")
    if not all(receipt.outcome == "appended" for receipt in receipts):
        raise NotAppended(f"of the batch of {batch[0].idempotency_key}")
    return max(receipt.position for receipt in receipts)


def requests(tenant: UUID, numbers: range) -> Iterator[AppendRequest]:
    """Of each of these entries the one request that appends it."""
    metadata = entries.event_metadata()
    for n in numbers:
        stream = uuid7()
        yield AppendRequest(
            tenant=tenant,
            idempotency_key=entries.key().decode(),
            request_hash=bytes(32),
            answer={"id": str(stream), "version": 1},
            metadata=metadata,
            checks=(Check(stream, _STREAM_TYPE, 0),),
            events=(
                NewEvent(
                    event_id=uuid7(),
                    stream_type=_STREAM_TYPE,
                    stream_id=stream,
                    version=1,
                    type="finance.journal_entry.posted",
                    schema_version=1,
                    series=entries.SERIES,
                    encoding="json",
                    data=entries.event_data(n),
                ),
            ),
        )


def main() -> None:
    """Fill as the one argument says."""
    asked = orjson.loads(sys.argv[1])
    told = fill(asked["url"], UUID(asked["tenant"]), asked["first"], asked["events"])
    print(orjson.dumps(told).decode())


if __name__ == "__main__":
    main()
