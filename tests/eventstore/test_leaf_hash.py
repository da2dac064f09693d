"""Promise 8: the leaf hash is what `docs/reference/leaf-hash.md` says, in the database and outside of it."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.leaf import StoredEvent, leaf_hash
from tests.eventstore.requests import call, new_event, new_request

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
VECTORS = json.loads((REFERENCE / "leaf-hash-vectors.json").read_text("utf-8"))["vectors"]
COLUMNS = ", ".join(StoredEvent._fields)
CASTS = {
    "data": "bytea",
    "event_id": "uuid",
    "metadata": "bytea",
    "number": "bigint",
    "position": "bigint",
    "recorded_at": "timestamptz",
    "schema_version": "int",
    "stream_id": "uuid",
    "tenant": "uuid",
    "tenant_seq": "bigint",
    "version": "bigint",
}


def of_vector(vector: dict[str, Any]) -> StoredEvent:
    """The row that a published vector describes."""
    columns = dict(vector["event"])
    for name in ("event_id", "tenant", "stream_id"):
        columns[name] = UUID(columns[name])
    for name in ("data", "metadata"):
        columns[name] = bytes.fromhex(columns.pop(f"{name}_hex"))
    columns["recorded_at"] = datetime.fromisoformat(columns["recorded_at"])
    return StoredEvent(**columns)


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator["psycopg.Connection[Any]"]:
    """The owner's connection: only the function is asked, nothing is stored."""
    with psycopg.connect(postgres_url, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


def hash_of_database(connection: "psycopg.Connection[Any]", event: StoredEvent) -> bytes:
    """What `erp.leaf_hash` makes of a row with these columns."""
    columns = event._asdict() | {"leaf_hash": None}
    order = connection.execute(
        """SELECT attname FROM pg_attribute
            WHERE attrelid = 'erp.events'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
    ).fetchall()
    row = ", ".join(f"%({name})s::{CASTS.get(name, 'text')}" for (name,) in order if name != "leaf_hash")
    found = connection.execute(
        f"SELECT erp.leaf_hash(ROW({row}, NULL)::erp.events)".encode(), columns
    ).fetchone()
    assert found is not None
    return bytes(found[0])


@pytest.fixture(scope="module")
def published() -> Callable[[dict[str, Any]], bytes]:
    """The function that the page prints for strangers."""
    (source,) = re.findall(r"```python\n(.*?)```", (REFERENCE / "leaf-hash.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - what a reader of the page would do
    function: Callable[[dict[str, Any]], bytes] = names["leaf_hash"]
    return function


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["what"] for vector in VECTORS])
class TestVectors:
    """Everybody agrees on the published vectors."""

    def test_vector_is_sound(self, vector: dict[str, Any]) -> None:
        """The published bytes are 190 and have the published hash."""
        hashed = bytes.fromhex(vector["hashed_hex"])
        assert len(hashed) == 190
        assert sha256(hashed).hexdigest() == vector["leaf_hash"]

    def test_program(self, vector: dict[str, Any]) -> None:
        """The program computes it."""
        assert leaf_hash(of_vector(vector)).hex() == vector["leaf_hash"]

    def test_published_function(
        self, vector: dict[str, Any], published: Callable[[dict[str, Any]], bytes]
    ) -> None:
        """Whoever copies the function from the page computes it."""
        assert published(of_vector(vector)._asdict()).hex() == vector["leaf_hash"]

    @pytest.mark.integration
    def test_database(self, vector: dict[str, Any], database: "psycopg.Connection[Any]") -> None:
        """The database computes it."""
        assert hash_of_database(database, of_vector(vector)).hex() == vector["leaf_hash"]


bigints = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
events = st.builds(
    StoredEvent,
    position=bigints,
    event_id=st.uuids(),
    tenant=st.uuids(),
    tenant_seq=bigints,
    stream_id=st.uuids(),
    version=bigints,
    schema_version=st.integers(-(2**31), 2**31 - 1),
    number=st.none() | bigints,
    recorded_at=st.datetimes(timezones=st.just(UTC)),
    stream_type=texts,
    type=texts,
    series=st.none() | texts,
    encoding=texts,
    data=st.binary(max_size=40),
    metadata=st.binary(max_size=40),
)


@pytest.mark.integration
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=events)
def test_database_and_program_agree(database: "psycopg.Connection[Any]", event: StoredEvent) -> None:
    """Whatever the columns hold, the database and the program compute the same hash."""
    assert hash_of_database(database, event) == leaf_hash(event)


@settings(max_examples=200)
@given(event=events, data=st.data())
def test_every_column_counts(event: StoredEvent, data: st.DataObject) -> None:
    """Whichever column changes, the hash does. (No number and number 0 are alike, as are no series and
    ''.)
    """
    column = data.draw(st.sampled_from(StoredEvent._fields))
    other = getattr(data.draw(events), column)
    same = (getattr(event, column) or None) == (other or None)
    assert (leaf_hash(event._replace(**{column: other})) == leaf_hash(event)) == same


@pytest.mark.integration
def test_what_is_appended_carries_its_hash(app_url: str, reader_url: str, tenant: UUID) -> None:
    """The hash that is stored is that of the columns that are stored."""
    stream = UUID(int=tenant.int ^ 1)
    requests = [new_request(tenant, new_event(stream, 1, series="s", data=b"\x00\xff"), new_event(stream, 2))]
    with psycopg.connect(app_url, autocommit=True) as application:
        call(application, *requests)
    with psycopg.connect(reader_url, options="-c timezone=UTC") as reader:
        rows = reader.execute(
            f"SELECT {COLUMNS}, leaf_hash FROM erp.events WHERE tenant = %s".encode(), [tenant]
        ).fetchall()
    assert len(rows) == 2
    for *columns, stored in rows:
        assert leaf_hash(StoredEvent(*columns)) == stored
