"""Migrations: each applied once, in order, whole or not at all, and never to a database of a newer
version.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from eventstore import migrate as module
from eventstore.migrate import (
    Migration,
    NotUtf8,
    SchemaChanged,
    SchemaTooNew,
    SchemaTooOld,
    migrate,
    require_current,
    shipped,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def owner(empty_url: str) -> Iterator["psycopg.Connection[tuple[int]]"]:
    """A connection to the empty database."""
    with psycopg.connect(empty_url, autocommit=True) as connection:
        yield connection


def table_exists(owner: "psycopg.Connection[tuple[int]]", name: str) -> bool:
    return owner.execute("SELECT 1 FROM pg_tables WHERE tablename = %s", [name]).fetchone() is not None


def test_numbers_have_no_gaps() -> None:
    """Shipped migrations are numbered 1, 2, 3, …"""
    assert [migration.number for migration in shipped()] == list(range(1, len(shipped()) + 1))


def test_twice_is_harmless(empty_url: str) -> None:
    """The first run applies everything, the second nothing."""
    assert migrate(empty_url) == [migration.name for migration in shipped()]
    assert migrate(empty_url) == []
    require_current(empty_url)


def test_two_processes_at_once(empty_url: str) -> None:
    """Of several that migrate at the same moment one does the work; none fails."""
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, [empty_url] * 4))
    assert sorted(map(len, applied)) == [0, 0, 0, len(shipped())]
    require_current(empty_url)


def test_empty_database_is_too_old(empty_url: str) -> None:
    """A program is not started on a database that was never migrated, and does not touch it."""
    with pytest.raises(SchemaTooOld, match="erp migrate"):
        require_current(empty_url)
    assert len(migrate(empty_url)) == len(shipped())


def test_half_migrated_database_is_too_old(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that lacks a later migration gets that one only."""
    ours = shipped()
    monkeypatch.setattr(module, "shipped", lambda: ours[:1])
    assert migrate(empty_url) == [ours[0].name]
    monkeypatch.undo()
    with pytest.raises(SchemaTooOld, match=ours[1].name):
        require_current(empty_url)
    assert migrate(empty_url) == [migration.name for migration in ours[1:]]


def test_numbers_of_generations_go_on_where_they_were(
    empty_url: str, owner: "psycopg.Connection[tuple[int]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database of a read side that was rebuilt twice before numbers were kept."""
    ours = shipped()
    monkeypatch.setattr(module, "shipped", lambda: ours[:7])
    migrate(empty_url)
    monkeypatch.undo()
    owner.execute("INSERT INTO erp.projections (projection) VALUES ('a'), ('b')")
    owner.execute(
        """INSERT INTO erp.projection_generations (projection, generation, version, definition, instance)
           VALUES ('a', 2, 1, '{}', gen_random_uuid()), ('a', 3, 1, '{}', gen_random_uuid())"""
    )
    migrate(empty_url)
    last = owner.execute("SELECT last_generation FROM erp.projections ORDER BY projection").fetchall()
    assert last == [(3,), (0,)]


def test_other_encodings_are_refused(postgres_url: str) -> None:
    """Text would come back as bytes, and nothing would be what it was."""
    name = f"scratch_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'".encode()
        )
        try:
            with pytest.raises(NotUtf8, match="SQL_ASCII"):
                migrate(urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}")))
        finally:
            connection.execute(f"DROP DATABASE {name}".encode())


def test_newer_schema_is_left_alone(empty_url: str, owner: "psycopg.Connection[tuple[int]]") -> None:
    """A database of a newer version is refused, for migrating and for working."""
    migrate(empty_url)
    owner.execute("INSERT INTO erp.migrations (number, name, sha256) VALUES (99, '0099_future', '')")
    for refused in (migrate, require_current):
        with pytest.raises(SchemaTooNew, match="99"):
            refused(empty_url)


def test_changed_migration_is_noticed(empty_url: str, owner: "psycopg.Connection[tuple[int]]") -> None:
    """A file that changed after it was applied is refused: nobody knows what the database has."""
    migrate(empty_url)
    owner.execute("UPDATE erp.migrations SET sha256 = 'other' WHERE number = 1")
    for refused in (migrate, require_current):
        with pytest.raises(SchemaChanged, match=shipped()[0].name):
            refused(empty_url)


def test_failing_migration_leaves_nothing(
    empty_url: str, owner: "psycopg.Connection[tuple[int]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that fails half-way is not there at all, those before it stay, and it can be tried
    again.
    """
    ours = shipped()
    half = "CREATE TABLE erp.half (n int);"
    broken = Migration(len(ours) + 1, "9999_broken", f"{half} SELECT 1 / 0;")
    monkeypatch.setattr(module, "shipped", lambda: [*ours, broken])
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_url)
    assert table_exists(owner, "events")
    assert not table_exists(owner, "half")
    mended = broken._replace(sql=half)
    monkeypatch.setattr(module, "shipped", lambda: [*ours, mended])
    assert migrate(empty_url) == [mended.name]
    assert table_exists(owner, "half")
