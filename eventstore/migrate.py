"""Brings the database to this version's schema.

Numbered SQL files, each applied once, in order, whole or not at all.
"""

import hashlib
from importlib.resources import files
from typing import Final, NamedTuple

import psycopg

_LOCK: Final = 4712820727
_LEDGER: Final = """
    CREATE SCHEMA IF NOT EXISTS erp;
    CREATE TABLE IF NOT EXISTS erp.migrations (
        number integer PRIMARY KEY,
        name text NOT NULL,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )"""


class SchemaTooNew(Exception):
    """The database was migrated by a newer version of the program, which this one must not touch."""


class SchemaTooOld(Exception):
    """The database lacks migrations; `erp migrate` applies them."""


class NotUtf8(Exception):
    """The database keeps text in another encoding, in which names and amounts would be garbled."""


class SchemaChanged(Exception):
    """A migration that was applied is not the one that this version ships."""


class Migration(NamedTuple):
    """One SQL file: its number in the order, its name, its text."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Digest of the text, kept to notice a file that changed after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> list[Migration]:
    """This version's migrations, in order."""
    found = [
        path for path in files("eventstore").joinpath("migrations").iterdir() if path.name.endswith(".sql")
    ]
    ordered = sorted(found, key=lambda path: path.name)
    return [
        Migration(int(path.name[:4]), path.name.removesuffix(".sql"), path.read_text("utf-8"))
        for path in ordered
    ]


def migrate(owner_url: str) -> list[str]:
    """Apply what is missing, as the owner, and return the names of what was applied.

    Running it twice, or by two processes at once, is harmless.

    Raises:
        NotUtf8: the database is not encoded in UTF-8.
        SchemaTooNew: the database knows migrations that this version does not.
        SchemaChanged: an applied migration differs from the shipped one.
    """
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        connection.execute("SET client_min_messages = warning")
        _require_utf8(connection)
        connection.execute(_LEDGER)
        missing = _missing(connection)
        for migration in missing:
            with connection.transaction():
                connection.execute(migration.sql.encode())
                connection.execute(
                    "INSERT INTO erp.migrations (number, name, sha256) VALUES (%s, %s, %s)",
                    [migration.number, migration.name, migration.sha256],
                )
    return [migration.name for migration in missing]


def require_current(url: str) -> None:
    """Return if the database has exactly this version's schema.

    Raises:
        SchemaTooNew, SchemaTooOld, SchemaChanged: it has not.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        exists = connection.execute("SELECT to_regclass('erp.migrations') IS NOT NULL").fetchone()
        missing = _missing(connection) if exists and exists[0] else shipped()
    if missing:
        detail = f"The database lacks the migration {missing[0].name}; run `erp migrate`."
        raise SchemaTooOld(detail)


def _require_utf8(connection: psycopg.Connection) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        detail = f"The database is encoded in {encoding}; make it with ENCODING 'UTF8' TEMPLATE template0."
        raise NotUtf8(detail)


def _missing(connection: psycopg.Connection) -> list[Migration]:
    applied: dict[int, str] = dict(connection.execute("SELECT number, sha256 FROM erp.migrations").fetchall())
    ours = {migration.number: migration for migration in shipped()}
    for number, digest in sorted(applied.items()):
        if number not in ours:
            detail = (
                f"The database has migration {number}, which this version does not know; install a newer one."
            )
            raise SchemaTooNew(detail)
        if digest != ours[number].sha256:
            name = ours[number].name
            detail = f"Migration {name} was applied in another form than this version ships."
            raise SchemaChanged(detail)
    return [migration for number, migration in ours.items() if number not in applied]
