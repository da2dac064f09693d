"""Who sees what: row-level security for the application and the auditor, everything for the reader."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from erp.embedded.address import with_user
from eventstore.request import Check
from eventstore.store import EventStore
from tests.eventstore.conftest import MakeTenant
from tests.eventstore.requests import STREAM_TYPE, call, new_event, new_request, one_event
from tests.eventstore.tally import Tally, append, blank

pytestmark = pytest.mark.integration

GUARDED = ("events", "tenants", "commands", "snapshots")

Books = dict[UUID, UUID]


@pytest.fixture
def books(app_url: str, make_tenant: MakeTenant) -> Books:
    """Two tenants, each with an event, a command and a snapshot: their streams, by tenant."""
    streams = {}
    with psycopg.connect(app_url, autocommit=True) as application:
        for tenant in (make_tenant(), make_tenant()):
            stream = uuid4()
            call(application, new_request(tenant, new_event(stream, 1)))
            application.execute(
                "SELECT erp.write_snapshot(%s, %s, 1, 'test.raw@1', 'state')", [tenant, stream]
            )
            streams[tenant] = stream
    return streams


@pytest.fixture
def application(app_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application that has named no tenant yet."""
    with psycopg.connect(app_url, autocommit=True) as connection:
        yield connection


def tenants_seen(connection: psycopg.Connection[Any], table: str) -> set[UUID]:
    return {row[0] for row in connection.execute(f"SELECT tenant FROM erp.{table}".encode()).fetchall()}


@pytest.mark.parametrize("table", GUARDED)
def test_application_sees_the_tenant_it_names(
    application: psycopg.Connection[Any], books: Books, table: str
) -> None:
    """Without a tenant the application sees no rows, with one that tenant's only, and none again
    afterwards.
    """
    one, other = books
    assert tenants_seen(application, table) == set()
    for tenant in (one, other):
        with application.transaction():
            application.execute("SELECT set_config('erp.tenant', %s, true)", [str(tenant)])
            assert tenants_seen(application, table) == {tenant}
    assert tenants_seen(application, table) == set()


@pytest.mark.parametrize(
    "read",
    [
        "SELECT * FROM erp.read_stream(%(tenant)s, %(stream)s, 'test.raw', 0, 10)",
        "SELECT * FROM erp.read_snapshot(%(tenant)s, %(stream)s, 'test.raw@1')",
        "SELECT * FROM erp.read_register(%(tenant)s, 'series', 0, 10)",
        "SELECT * FROM erp.read_command(%(tenant)s, 'key')",
        "SELECT erp.write_snapshot(%(tenant)s, %(stream)s, 2, 'test.raw@1', 'state')",
    ],
)
def test_a_tenant_named_by_a_function_is_forgotten(
    application: psycopg.Connection[Any], books: Books, read: str
) -> None:
    """The functions of the application name a tenant for their own statement, not for those after it."""
    tenant, stream = next(iter(books.items()))
    application.execute(read.encode(), {"tenant": tenant, "stream": stream})
    assert tenants_seen(application, "events") == set()


def test_snapshots_of_another_tenant_cannot_be_written(
    application: psycopg.Connection[Any], books: Books
) -> None:
    """In the name of one tenant the application cannot store a snapshot for another."""
    one, other = books
    forged = "INSERT INTO erp.snapshots VALUES (%s, %s, 7, 'test.raw@1', 'forged')"
    with application.transaction():
        application.execute("SELECT set_config('erp.tenant', %s, true)", [str(one)])
        with pytest.raises(InsufficientPrivilege, match="row-level security"), application.transaction():
            application.execute(forged, [other, uuid4()])


def test_snapshots_of_one_tenant_do_not_take_the_place_of_anothers(
    application: psycopg.Connection[Any], make_tenant: MakeTenant
) -> None:
    """Whatever one tenant stores under a stream's id, another tenant's snapshot of that stream can be
    stored.
    """
    squatter, tenant, stream = make_tenant(), make_tenant(), uuid4()
    for owner, state in ((squatter, b"forged"), (tenant, b"true")):
        application.execute("SELECT erp.write_snapshot(%s, %s, 1, 't@1', %s)", [owner, stream, state])
    rows = application.execute(
        "SELECT state FROM erp.read_snapshot(%s, %s, 't@1')", [tenant, stream]
    ).fetchall()
    assert rows == [(b"true",)]


async def test_streams_of_another_tenant_are_blank_and_closed(
    store: EventStore, make_tenant: MakeTenant
) -> None:
    """To another tenant a stream does not exist, and nothing can be appended to it; nor can it be read as
    absent.
    """
    one, other = make_tenant(), make_tenant()
    tally = blank().add()
    await append(store, one, tally)
    theirs = await store.load_current(Tally, tally.id, other)
    assert not theirs.exists
    for reads in ((), (theirs,)):
        mine = theirs.editable_copy() if not reads else blank()
        assert (await append(store, other, mine.add(), reads=reads)).outcome == "conflict"
    assert (await store.load_current(Tally, tally.id, one)).version == 1


@pytest.mark.parametrize("version", [1, 2])
def test_append_function_refuses_streams_without_their_check(
    application: psycopg.Connection[Any], books: Books, version: int
) -> None:
    """Even when the caller forgets to name a stream it writes, nothing gets into another tenant's stream."""
    one, other = books
    stolen = new_event(books[other], version)
    for checks in ([], [Check(uuid4(), STREAM_TYPE, 0)]):
        with pytest.raises(psycopg.DatabaseError):
            call(application, new_request(one, stolen, checks=checks))


@pytest.mark.parametrize(
    ("versions", "expected"), [((1, 3), 0), ((2,), 0), ((2, 1), 0), ((1, 1), 0), ((0,), 0), ((1,), -1)]
)
def test_append_function_refuses_versions_that_do_not_follow(
    application: psycopg.Connection[Any], tenant: UUID, versions: tuple[int, ...], expected: int
) -> None:
    """The versions of a stream have no holes, whatever the caller sends."""
    stream = uuid4()
    events = [new_event(stream, version) for version in versions]
    with pytest.raises(psycopg.DatabaseError):
        call(application, new_request(tenant, *events, checks=[Check(stream, STREAM_TYPE, expected)]))


def test_append_needs_a_tenant_that_exists(application: psycopg.Connection[Any]) -> None:
    """Nothing is recorded for a tenant that nobody registered."""
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        call(application, one_event(uuid4()))


@pytest.mark.parametrize("table", GUARDED)
def test_reader_sees_all_and_writes_nothing(reader_url: str, books: Books, table: str) -> None:
    """The relay's role sees every tenant and changes none."""
    with psycopg.connect(reader_url, autocommit=True) as reader:
        assert set(books) <= tenants_seen(reader, table)
        for statement in (
            "DELETE FROM erp.{}",
            "INSERT INTO erp.{0} SELECT * FROM erp.{0}",
            "TRUNCATE erp.{}",
        ):
            with pytest.raises(InsufficientPrivilege):
                reader.execute(statement.format(table).encode())
        with pytest.raises(InsufficientPrivilege):
            call(reader, one_event(next(iter(books))))


@pytest.fixture
def auditor(postgres_url: str, books: Books) -> Iterator[psycopg.Connection[Any]]:
    """A person's own login, made an auditor of the first of the books."""
    login = f"auditor_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {login} LOGIN IN ROLE erp_auditor".encode())
        owner.execute("INSERT INTO erp.auditors VALUES (%s, %s)", [login, next(iter(books))])
        with psycopg.connect(with_user(postgres_url, login), autocommit=True) as connection:
            yield connection
        owner.execute("DELETE FROM erp.auditors WHERE login = %s", [login])
        owner.execute(f"DROP ROLE {login}".encode())


@pytest.mark.parametrize("table", GUARDED)
def test_auditor_sees_one_tenant(auditor: psycopg.Connection[Any], books: Books, table: str) -> None:
    """An auditor sees the one tenant of his appointment, whatever he sets or pretends to be, and writes
    nothing.
    """
    audited, other = books
    assert tenants_seen(auditor, table) == {audited}
    auditor.execute("SELECT set_config('erp.tenant', %s, false)", [str(other)])
    auditor.execute("SET ROLE erp_auditor")
    assert tenants_seen(auditor, table) == {audited}
    for statement in (
        "SET SESSION AUTHORIZATION postgres",
        "SET ROLE erp_app",
        f"DELETE FROM erp.{table}",
        "UPDATE erp.auditors SET tenant = NULL",
        "SELECT * FROM erp.auditors",
    ):
        with pytest.raises(InsufficientPrivilege):
            auditor.execute(statement.encode())
    with pytest.raises(InsufficientPrivilege):
        call(auditor, one_event(audited))


def test_auditor_without_an_appointment_sees_nothing(postgres_url: str, books: Books) -> None:
    """Membership alone shows nothing."""
    with psycopg.connect(with_user(postgres_url, "erp_auditor"), autocommit=True) as connection:
        connection.execute("SELECT set_config('erp.tenant', %s, false)", [str(next(iter(books)))])
        assert [tenants_seen(connection, table) for table in GUARDED] == [set()] * 4


def test_events_are_readable_by_people(
    auditor: psycopg.Connection[Any], application: psycopg.Connection[Any], books: Books
) -> None:
    """The view shows data and metadata as JSON, under row-level security, whatever the texts contain."""
    audited, other = books
    odd = b'{"text":"nul \\u0000, emoji \\ud83d\\ude00, \\"quoted\\"","amount":"1.10","big":1e400}'
    for tenant in books:
        call(application, new_request(tenant, new_event(uuid4(), 1, data=odd)))
    rows = auditor.execute(
        "SELECT tenant, data::text, metadata->>'actor', leaf_hash FROM erp.events_readable ORDER BY position"
    ).fetchall()
    assert {row[0] for row in rows} == {audited}
    assert rows[-1][1].encode() == odd
    assert rows[-1][2] == "tester"
    assert len(rows[-1][3]) == 64
    assert other not in tenants_seen(auditor, "events_readable")
