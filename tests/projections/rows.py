"""Rows of the log, put there as they are: past the append function, and many at once."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from eventstore.leaf import StoredEvent, leaf_hash
from tests.projections.world import World

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def event(world: World, position: int, **columns: Any) -> StoredEvent:
    """A row of the log: a tally of its own to which 1 was added."""
    made = StoredEvent(
        position=position,
        event_id=uuid4(),
        tenant=world.tenant,
        tenant_seq=position,
        stream_id=uuid4(),
        version=1,
        schema_version=1,
        number=None,
        recorded_at=NOON + timedelta(microseconds=position * 10),
        stream_type="test.tally",
        type="test.tally.added",
        series=None,
        encoding="json",
        data=b'{"amount":"1","note":""}',
        metadata=b"{}",
    )
    return made._replace(**columns)


def store(world: World, events: Iterable[StoredEvent]) -> None:
    """Put rows into the log as they are, past the append function."""
    columns = ", ".join(StoredEvent._fields)
    places = ", ".join(["%s"] * (len(StoredEvent._fields) + 1))
    with world.owner() as owner, owner.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO erp.events ({columns}, leaf_hash) VALUES ({places})",
            [[*each, leaf_hash(each)] for each in events],
        )
