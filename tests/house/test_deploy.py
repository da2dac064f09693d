"""What `deploy/` ships, tried on a Postgres that knows nothing of us."""

import os
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

DEPLOY = Path(__file__).parents[2] / "deploy"
ROLES = ("owner", "app", "reader", "relay", "worker", "saga")


def test_an_owner_who_is_no_superuser_can_deploy(home: Path) -> None:
    """The script, then the migrations, then a tenant: no more is needed, and each role has its rights."""
    with EmbeddedPostgres(home) as server:
        with psycopg.connect(address.url(home, database="postgres"), autocommit=True) as superuser:
            superuser.execute("DROP DATABASE erp")
            (programs,) = superuser.execute(
                "SELECT setting FROM pg_config WHERE name = 'BINDIR'"
            ).fetchone() or ("",)
        # As the postgres image of compose.yaml runs it.
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PGHOST": str(address.socket_dir(home)),
            "PGPORT": str(address.PORT),
            "POSTGRES_USER": address.SUPERUSER,
            "ROLES_SQL": str(DEPLOY / "postgres.sql"),
            **{f"{role.upper()}_PASSWORD": uuid4().hex for role in ROLES},
        }
        subprocess.run([DEPLOY / "postgres-roles.sh"], env=environment, check=True)
        with psycopg.connect(address.url(home, database="postgres")) as superuser:
            made = superuser.execute(
                "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname ^@ 'erp_'"
            )
            assert {name for (name,) in made} == {f"erp_{role}" for role in ROLES}

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
        with psycopg.connect(address.with_user(server.url, "erp_saga")) as saga:
            assert saga.execute("SELECT count(*) FROM erp.dead_letters").fetchone() == (0,)
