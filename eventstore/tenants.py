"""Tenants: companies whose books share the log and never see one another's.

Making one is the owner's business; the application only looks up the ids of names.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from uuid_utils.compat import uuid7


class Tenant(NamedTuple):
    """A company: its name in tokens and URLs, its base currency (ISO 4217) and time zone (IANA)."""

    tenant: UUID
    name: str
    base_currency: str
    time_zone: str
    created_at: datetime


def register_tenant(owner_url: str, name: str, *, base_currency: str, time_zone: str) -> tuple[Tenant, bool]:
    """The tenant of this name, and whether it was made just now. One that exists stays as it is."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        made = connection.execute(
            """INSERT INTO erp.tenants (tenant, name, base_currency, time_zone) VALUES (%s, %s, %s, %s)
               ON CONFLICT (name) DO NOTHING RETURNING tenant""",
            [uuid7(), name, base_currency, time_zone],
        ).fetchone()
        (tenant,) = _tenants(connection, "WHERE name = %s", [name])
        return tenant, made is not None


def list_tenants(url: str) -> list[Tenant]:
    """All tenants, by name, as the owner or the reader sees them."""
    with psycopg.connect(url, autocommit=True) as connection:
        return _tenants(connection, "ORDER BY name", [])


def _tenants(
    connection: "psycopg.Connection[tuple[object, ...]]", clause: str, parameters: Sequence[str]
) -> list[Tenant]:
    with connection.cursor(row_factory=class_row(Tenant)) as cursor:
        query = f"SELECT tenant, name, base_currency, time_zone, created_at FROM erp.tenants {clause}"  # noqa: S608 - ours
        return cursor.execute(query.encode(), parameters).fetchall()
