"""Promise 1: what is in the log stays as it is; the database itself sees to that."""

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from erp.embedded.address import with_user
from tests.eventstore.conftest import new_tenant
from tests.eventstore.requests import call, one_event

pytestmark = pytest.mark.integration

CHANGES = {
    "update": "UPDATE erp.events SET data = 'forged'",
    "update-nothing": "UPDATE erp.events SET position = position",
    "delete": "DELETE FROM erp.events",
    "truncate": "TRUNCATE erp.events",
    "truncate-tenants": "TRUNCATE erp.tenants CASCADE",
    "upsert": """INSERT INTO erp.events SELECT * FROM erp.events
                 ON CONFLICT (position) DO UPDATE SET data = 'forged'""",
    "merge": "MERGE INTO erp.events e USING erp.tenants t ON t.tenant = e.tenant WHEN MATCHED THEN DELETE",
}
APPLICATION_CHANGES = {
    **CHANGES,
    "insert": "INSERT INTO erp.events SELECT * FROM erp.events",
    "insert-function": "INSERT INTO erp.events SELECT (e).* FROM (SELECT e FROM erp.events e) x",
    "drop-trigger": "DROP TRIGGER append_only_rows ON erp.events",
    "disable-trigger": "ALTER TABLE erp.events DISABLE TRIGGER USER",
    "replica-role": "SET session_replication_role = replica",
    "own-table": "ALTER TABLE erp.events OWNER TO erp_app",
    "replace-function": """CREATE OR REPLACE FUNCTION erp.leaf_hash(e erp.events) RETURNS bytea
                           LANGUAGE sql RETURN ''::bytea""",
    "row-security": "ALTER TABLE erp.events DISABLE ROW LEVEL SECURITY",
    "become-owner": "SET ROLE postgres",
    "clock": "UPDATE erp.clock SET floor = 'infinity'",
    "command": "DELETE FROM erp.commands",
    "rename": "UPDATE erp.tenants SET name = 'mine'",
}


@pytest.fixture
def log_url(own_url: str) -> str:
    """The owner's URL of a database with one event in its log."""
    with psycopg.connect(own_url, autocommit=True) as owner:
        assert call(owner, one_event(new_tenant(own_url)))[0].outcome == "appended"
    return own_url


def contents(owner_url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(owner_url) as owner:
        return owner.execute("SELECT * FROM erp.events").fetchall()


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
def test_owner_cannot_change_events(log_url: str, replication_role: str) -> None:
    """A trigger refuses every change even to the superuser, also in the mode in which triggers are
    usually silent.
    """
    before = contents(log_url)
    with psycopg.connect(log_url, autocommit=True) as owner:
        owner.execute(f"SET session_replication_role = {replication_role}".encode())
        for statement in CHANGES.values():
            with pytest.raises(InsufficientPrivilege, match="append-only"):
                owner.execute(statement.encode())
    assert contents(log_url) == before != []


def test_application_cannot_change_events(log_url: str) -> None:
    """The application's role lacks the privilege for every change, and for every way around."""
    before = contents(log_url)
    with psycopg.connect(with_user(log_url, "erp_app"), autocommit=True) as application:
        (tenant,) = before[0][6:7]
        application.execute("SELECT set_config('erp.tenant', %s, false)", [str(tenant)])
        for statement in APPLICATION_CHANGES.values():
            with pytest.raises(InsufficientPrivilege):
                application.execute(statement.encode())
    assert contents(log_url) == before != []


def test_privileges_are_these_and_no_others(own_url: str) -> None:
    """Roles that log in may read; the application may also add snapshots, relay and workers write what is
    their own. Nobody may write anything else.
    """
    with psycopg.connect(own_url) as owner:
        granted = owner.execute(
            """SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants
                WHERE table_schema = 'erp' AND grantee <> 'postgres'"""
        ).fetchall()
        everyone = owner.execute(
            """SELECT proname FROM pg_proc WHERE pronamespace = 'erp'::regnamespace
                AND has_function_privilege('public', oid, 'EXECUTE')"""
        ).fetchall()
    assert {row for row in granted if row[2] != "SELECT"} == {
        ("erp_app", "snapshots", "INSERT"),
        ("erp_app", "subject_keys", "INSERT"),
        ("erp_relay", "relay", "UPDATE"),
        *(("erp_relay", "relay_partitions", what) for what in ("INSERT", "UPDATE", "DELETE")),
        *(("erp_relay", table, "INSERT") for table in ("merkle_nodes", "tree_heads", "tenant_counts")),
        ("erp_worker", "log_copy", "UPDATE"),
        *(
            ("erp_worker", table, what)
            for table in ("projections", "projection_generations")
            for what in ("INSERT", "UPDATE", "DELETE")
        ),
        ("erp_worker", "projection_discards", "INSERT"),
        *(
            ("erp_saga", table, what)
            for table in ("partition_positions", "dead_letters", "saga_timers")
            for what in ("INSERT", "UPDATE")
        ),
        ("erp_saga", "saga_timers", "DELETE"),
    }
    assert {row[1] for row in granted if row[0] == "erp_auditor"} == {
        "tenants",
        "events",
        "commands",
        "snapshots",
        "events_readable",
        "merkle_nodes",
        "tree_heads",
        "tenant_counts",
    }
    assert everyone == []
