"""What `deploy/` ships, tried on a Postgres that knows nothing of us."""

import subprocess
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from erp.embedded import address
from erp.embedded.postgres import EmbeddedPostgres
from eventstore.migrate import migrate
from eventstore.tenants import list_tenants, register_tenant

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "deploy" / "postgres.sql"


def test_an_owner_who_is_no_superuser_can_deploy(home: Path) -> None:
    """The script, then the migrations, then a tenant: no more is needed, and each role has its rights."""
    with EmbeddedPostgres(home) as server:
        with psycopg.connect(address.url(home, database="postgres"), autocommit=True) as superuser:
            superuser.execute("DROP DATABASE erp")
            (programs,) = superuser.execute(
                "SELECT setting FROM pg_config WHERE name = 'BINDIR'"
            ).fetchone() or ("",)
        passwords = [
            f"-v{role}_password={uuid4().hex}" for role in ("owner", "app", "reader", "relay", "worker")
        ]
        psql = [
            f"{programs}/psql",
            "-q",
            *passwords,
            "-f",
            str(SCRIPT),
            address.url(home, database="postgres"),
        ]
        subprocess.run(psql, check=True)

        owner = address.with_user(server.url, "erp_owner")
        assert migrate(owner)
        assert migrate(owner) == []
        register_tenant(owner, "acme", base_currency="EUR", time_zone="UTC")
        assert [tenant.name for tenant in list_tenants(address.with_user(server.url, "erp_reader"))] == [
            "acme"
        ]
        with psycopg.connect(address.with_user(server.url, "erp_app")) as application:
            assert application.execute("SELECT erp.find_tenant('acme') IS NOT NULL").fetchone() == (True,)
            assert application.execute("SELECT count(*) FROM erp.tenants").fetchone() == (0,)
        with psycopg.connect(address.with_user(server.url, "erp_relay")) as relay:
            assert relay.execute("SELECT position FROM erp.relay").fetchone() == (0,)
            assert relay.execute("SELECT count(*) FROM erp.leaf_hashes(1, 10)").fetchone() == (0,)
