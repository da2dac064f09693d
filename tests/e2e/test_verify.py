"""What was changed behind the store's back is found, and named by its position."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from commands.bus import Answer
from commands.finance import (
    HANDLERS,
    CloseAccount,
    ClosePeriod,
    OpenAccount,
    OpenFiscalYear,
    PostDraft,
    PostJournalEntry,
    ReopenPeriod,
    ReverseJournalEntry,
)
from domain.finance.account import AccountType
from erp.contexts import aggregates
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.migrate import migrate
from eventstore.store import EventStore, StoreOptions
from eventstore.tenants import register_tenant
from eventstore.verify import Misfit, verify
from tests.dsl import Company
from tests.e2e.system import Home, entry

pytestmark = pytest.mark.e2e

Tampered = Callable[[str], Misfit | None]
UNTOUCHED = ""
# What someone would do who knows how the log is secured.
REHASH = "UPDATE erp.events e SET leaf_hash = erp.leaf_hash(e);"
UNGUARD = (
    b"ALTER TABLE erp.events DISABLE TRIGGER ALL",
    b"ALTER TABLE erp.events DROP CONSTRAINT events_tenant_tenant_seq_key",
    b"ALTER TABLE erp.events DROP CONSTRAINT events_stream_id_version_key",
    b"ALTER TABLE erp.events DROP CONSTRAINT events_position_check",
    b"DROP INDEX erp.events_tenant_series_number_key",
    b"CREATE TABLE events_as_written AS SELECT * FROM erp.events",
    b"CREATE TABLE snapshots_as_written AS SELECT * FROM erp.snapshots",
)


@pytest.fixture(scope="module")
def untouched(home: Home) -> Iterator[str]:
    """A database in which two companies have kept their books for a while, with nothing left to guard it."""
    name = f"books_{uuid4().hex}"
    url = urlunsplit(urlsplit(home.url())._replace(path=f"/{name}"))
    with psycopg.connect(home.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        migrate(url)
        asyncio.run(keep_books(url))
        with psycopg.connect(url, autocommit=True) as owner:
            for statement in UNGUARD:
                owner.execute(statement)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def keep_books(url: str) -> None:
    """Some forty events, with accounts at 2, 3, postings from 4 on, and snapshots of the calendar."""
    tenants = [register_tenant(url, name, base_currency="EUR", time_zone="UTC")[0].tenant for name in "ab"]
    options = StoreOptions(snapshot_every_events=4)
    async with EventStore(with_user(url, "erp_app"), Codec(aggregates()), options) as store:
        first, second = (Company(store, HANDLERS, tenant) for tenant in tenants)
        for company in (first, second):
            await company.execute(OpenFiscalYear(year=2026, start=date(2026, 1, 1)))
            await company.execute(OpenAccount(code="1122", name="Receivable", type=AccountType.ASSET))
            await company.execute(OpenAccount(code="6001", name="Revenue", type=AccountType.INCOME))
        for number in range(8):
            await _post(first, reference=f"first {number}")
            await _post(second, reference=f"second {number}")
        draft = await _post(first, post=False)
        await first.execute(PostDraft(id=draft.id))
        await first.execute(ReverseJournalEntry(id=draft.id, posting_date=date(2026, 2, 1), reason="x"))
        for _ in range(3):
            await first.execute(ClosePeriod(period="2026-01"))
            await first.execute(ReopenPeriod(period="2026-01"))
        await second.execute(CloseAccount(code="1122"))


async def _post(company: Company, **changes: Any) -> Answer:
    return await company.execute(PostJournalEntry.model_validate(entry(**changes)))


@pytest.fixture
def tampered(untouched: str) -> Iterator[Tampered]:
    """What is found in these books after statements by someone who may do anything; undone afterwards."""

    def found_after(statements: str) -> Misfit | None:
        owner.execute(statements.encode())
        return verify(with_user(untouched, "erp_reader"), Codec(aggregates()), aggregates()).misfit

    with psycopg.connect(untouched, autocommit=True) as owner:
        yield found_after
        for table in ("events", "snapshots"):
            owner.execute(f"DELETE FROM erp.{table}".encode())
            owner.execute(f"INSERT INTO erp.{table} SELECT * FROM {table}_as_written".encode())


def test_books_that_nobody_touched(tampered: Tampered) -> None:
    """Nothing is found where nothing was done; else all the rest would prove nothing."""
    assert tampered(UNTOUCHED) is None


@pytest.mark.parametrize(
    "change",
    [
        "data = set_byte(data, 20, get_byte(data, 20) # 1)",
        "data = data || ' '",
        "data = (SELECT data FROM erp.events WHERE position = 10)",
        "metadata = set_byte(metadata, 12, get_byte(metadata, 12) # 1)",
        "number = number + 1000",
        "number = NULL, series = NULL",
        "series = 'general/2025'",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "recorded_at = recorded_at - interval '1 year'",
        "tenant_seq = tenant_seq + 1",
        "version = version + 1",
        "stream_id = gen_random_uuid()",
        "stream_type = 'finance.account'",
        "type = 'finance.journal_entry.drafted'",
        "schema_version = 2",
        "encoding = 'text'",
        "event_id = gen_random_uuid()",
        "tenant = (SELECT tenant FROM erp.events WHERE position = 10)",
        "leaf_hash = sha256('x')",
        "leaf_hash = ''",
    ],
)
def test_a_changed_event(tampered: Tampered, change: str) -> None:
    """Whatever is changed in one event, that event is named."""
    misfit = tampered(f"UPDATE erp.events SET {change} WHERE position = 9")
    assert misfit is not None
    assert misfit.position == 9


@pytest.mark.parametrize("position", [1, 9, 20])
def test_a_deleted_event(tampered: Tampered, position: int) -> None:
    """The event after the gap is named, and the gap."""
    misfit = tampered(f"DELETE FROM erp.events WHERE position = {position}")
    assert misfit is not None
    assert (misfit.position, misfit.reason) == (position + 1, f"position {position} is missing")


def test_deleted_events_at_the_end(tampered: Tampered) -> None:
    """A log that was cut off is found by the keys of the commands that are gone from it."""
    misfit = tampered("DELETE FROM erp.events WHERE position > 20")
    assert misfit is not None
    assert misfit.position == 21


@pytest.mark.parametrize(
    "cover_up",
    [
        # A posting is taken out, and all that follows moved up: its number is missed.
        """DELETE FROM erp.events WHERE position = 9;
           UPDATE erp.events SET tenant_seq = tenant_seq - 1
            WHERE position > 9 AND tenant = (SELECT tenant FROM erp.events WHERE position = 11);
           UPDATE erp.events SET position = position - 1000 WHERE position > 9;
           UPDATE erp.events SET position = position + 999 WHERE position < 0;""",
        # Two events of one stream change places.
        """UPDATE erp.events SET version = CASE version WHEN 2 THEN 3 ELSE 2 END
            WHERE stream_type = 'finance.fiscal_calendar' AND version IN (2, 3);""",
        # Two of a tenant change places.
        """UPDATE erp.events a SET tenant_seq = b.tenant_seq FROM erp.events b
            WHERE a.tenant = b.tenant AND (a.position, b.position) IN ((9, 11), (11, 9));""",
        # Two numbers are swapped.
        """UPDATE erp.events a SET number = b.number FROM erp.events b
            WHERE (a.position, b.position) IN ((9, 11), (11, 9));""",
        # An event is dated back.
        "UPDATE erp.events SET recorded_at = recorded_at - interval '1 day' WHERE position = 9;",
        # The first version of a stream is gone, and its place taken by another tenant's event.
        "UPDATE erp.events SET stream_id = gen_random_uuid() WHERE version = 2 AND position > 20;",
    ],
)
def test_a_cover_up(tampered: Tampered, cover_up: str) -> None:
    """Also where the hashes were made anew to fit, order and density give it away."""
    assert tampered(f"BEGIN; {cover_up} {REHASH} COMMIT;") is not None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE erp.snapshots SET state = set_byte(state, 30, get_byte(state, 30) # 1)",
        "UPDATE erp.snapshots SET version = version + 1",
        "UPDATE erp.snapshots SET version = version + 1000",
        "UPDATE erp.snapshots SET stream_id = gen_random_uuid()",
    ],
)
def test_a_tampered_snapshot(tampered: Tampered, change: str) -> None:
    """A snapshot that its events do not give is found."""
    misfit = tampered(change)
    assert misfit is not None
    assert "snapshot" in misfit.reason
