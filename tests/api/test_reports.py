"""Reports and lists out of the read side, over one that answers what it is told."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from domain.finance.account import AccountNotFound, AccountType
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from domain.shared.errors import Unavailable
from eventstore.store import KnownAtInFuture
from projections.finance.journal_entries import ListedEntries, ListedEntry
from projections.finance.ledger import Ledger, LedgerLine
from projections.finance.statements import BalanceSheet, BalanceSheetRow, BalanceSheetSection
from projections.finance.trial_balance import Sums, TrialBalance, TrialBalanceRow
from projections.reading import Lagging
from tests.api.world import ENTRIES, TENANT, World

TRIAL_BALANCE = "/v1/finance/trial-balance"
LEDGER = "/v1/finance/accounts/1122/ledger"
INCOME = "/v1/finance/income-statement"
ROW = TrialBalanceRow("1122", 'A "name", and more', AccountType.ASSET, "EUR", "10.00", "0.00", "10.00")
BALANCED = TrialBalance((ROW,), {"EUR": Sums("10.00", "0.00", "10.00")})
ID = UUID("22222222-2222-4222-8222-222222222222")
CSV = {"Accept": "text/csv"}


@pytest.fixture
def world() -> World:
    made = World()
    made.read_side.answer = BALANCED
    return made


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client("accountant") as client:
        yield client


def asked(world: World) -> dict[str, Any]:
    """What the last question was asked with."""
    return world.read_side.asked[-1][1]


async def test_a_report_tells_what_was_asked_and_where_the_answer_stands(world, client):
    """As JSON unless something else is wanted."""
    answer = await client.get(
        TRIAL_BALANCE, params={"as_of": "2026-01-31", "known_at": "2026-02-01T01:00:00+01:00"}
    )
    assert answer.json() == {
        "as_of": "2026-01-31",
        "known_at": "2026-02-01T00:00:00.000000Z",
        "position": 7,
        "rows": [
            {
                "account": "1122",
                "name": 'A "name", and more',
                "type": "asset",
                "currency": "EUR",
                "debit": "10.00",
                "credit": "0.00",
                "balance": "10.00",
            }
        ],
        "totals": {"EUR": {"debit": "10.00", "credit": "0.00", "balance": "10.00"}},
    }
    assert answer.headers["x-projection-position"] == "7"
    assert answer.headers["cache-control"] == "no-store"
    assert "preference-applied" not in answer.headers
    assert asked(world) == {
        "min_position": 0,
        "known_at": datetime(2026, 2, 1, tzinfo=UTC),
        "wait_s": 0,
        "as_of": date(2026, 1, 31),
        "currency": None,
    }


async def test_a_report_as_csv(client):
    """RFC 4180: a header, CRLF, quotes where they are needed; to be saved under a name."""
    answer = await client.get(TRIAL_BALANCE, params={"as_of": "2026-01-31"}, headers=CSV)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="trial-balance.csv"'
    assert answer.headers["x-projection-position"] == "7"
    assert answer.text == (
        "account,name,type,currency,debit,credit,balance\r\n"
        '1122,"A ""name"", and more",asset,EUR,10.00,0.00,10.00\r\n'
    )
    head = await client.head(TRIAL_BALANCE, params={"as_of": "2026-01-31"}, headers=CSV)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]
    refused = await client.get(TRIAL_BALANCE, headers={"Accept": "application/pdf"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")


async def test_what_is_empty_or_large_in_csv(world, client):
    """Nothing is an empty cell, a map is JSON; a report of thousands of lines is whole too."""
    line = LedgerLine(
        posting_date=date(2026, 1, 15),
        entry_id=ID,
        document_no="general/2026/000001",
        journal="general",
        memo="two\nlines",
        reference="",
        party=None,
        dimensions={"cost_centre": "4711"},
        currency="EUR",
        debit="1.00",
        credit=None,
        balance="1.00",
        position=3,
    )
    world.read_side.answer = Ledger("1122", "x", AccountType.ASSET, {}, (line,) * 5000, {"EUR": "1.00"})
    answer = await client.get(LEDGER, headers=CSV)
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 5000
    assert rows[4999] == {
        "posting_date": "2026-01-15",
        "entry_id": str(ID),
        "document_no": "general/2026/000001",
        "journal": "general",
        "memo": "two\nlines",
        "reference": "",
        "party": "",
        "dimensions": '{"cost_centre":"4711"}',
        "currency": "EUR",
        "debit": "1.00",
        "credit": "",
        "balance": "1.00",
        "position": "3",
    }


async def test_a_balance_sheet_is_one_table(world, client):
    """Its sections are a column."""
    section = BalanceSheetSection(
        AccountType.ASSET, (BalanceSheetRow("1122", "x", "EUR", "1.00"),), {"EUR": "1.00"}
    )
    world.read_side.answer = BalanceSheet((section,), {"EUR": "1.00"}, {"EUR": "0.00"})
    answer = await client.get("/v1/finance/balance-sheet", headers=CSV)
    assert answer.text == "type,account,name,currency,balance\r\nasset,1122,x,EUR,1.00\r\n"


async def test_discarded_events_are_told(world, client):
    """In the report itself, and by a header in every form."""
    world.read_side.discarded = [3, 5]
    answer = await client.get(TRIAL_BALANCE)
    assert answer.json()["discarded_events"] == [3, 5]
    assert answer.headers["x-discarded-events"] == "2"
    assert (await client.get(TRIAL_BALANCE, headers=CSV)).headers["x-discarded-events"] == "2"


@pytest.mark.parametrize(
    ("prefer", "waited_s", "applied"),
    [
        ("wait=5", 5, "wait=5"),
        ("respond-async, Wait = 10; x=y", 10, "wait=10"),
        ('wait="7"', 7, "wait=7"),
        ("wait=100", 30, "wait=30"),
        ("wait=0", 0, "wait=0"),
        ("wait=soon", 0, None),
        ("respond-async", 0, None),
    ],
)
async def test_how_long_the_client_would_wait(world, client, prefer, waited_s, applied):
    """RFC 7240: what cannot be understood is passed over; what is applied is told."""
    answer = await client.get(TRIAL_BALANCE, params={"min_position": 6}, headers={"Prefer": prefer})
    assert (asked(world)["wait_s"], asked(world)["min_position"]) == (waited_s, 6)
    assert answer.headers.get("preference-applied") == applied


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Lagging(5), 503, "projection_lagging"),
        (Lagging(None), 503, "projection_lagging"),
        (Unavailable(), 503, "unavailable"),
        (KnownAtInFuture(), 422, "known_at_in_future"),
        (AccountNotFound("No.", account="9"), 404, "finance.account_not_found"),
    ],
)
async def test_why_there_is_no_answer(world, client, refusal, status, code):
    """What passes by itself is 503 with Retry-After."""
    world.read_side.refusal = refusal
    answer = await client.get(LEDGER)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)
    if isinstance(refusal, Lagging):
        assert answer.json()["position"] == refusal.position
        assert answer.headers.get("x-projection-position") == (refusal.position and "5")


@pytest.mark.parametrize(
    "query",
    [
        "as_of=2026-02-30",
        "as_of=20260101",
        "as_of=2026-01-01T00:00:00",
        "as_of=1767225600",
        "as_of=1899-12-31",
        "as_of=2300-01-01",
        "as_of=",
        "known_at=2026-01-01",
        "known_at=2026-01-01T00:00:00",
        "known_at=1767225600",
        "known_at=0001-01-01T00:00:00Z",
        "known_at=2026-01-01T25:00:00Z",
        "currency=XYZ",
        "currency=eur",
        "min_position=-1",
        "limit=10",
        "cursor=x",
        "code=1122",
        "as-of=2026-01-01",
        "as_of=2026-01-01&as_of=2026-01-02",
    ],
)
async def test_what_is_misspelt_is_refused(world, client, query):
    """A filter passed over would be a wrong answer."""
    answer = await client.get(f"{TRIAL_BALANCE}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert world.read_side.asked == []


async def test_bad_parameters_are_pointed_at(client):
    answer = await client.get(f"{LEDGER}?from=x&to=2026-02-30")
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/from", "/to"]
    answer = await client.get(f"{LEDGER}?from=2026-02-01&to=2026-01-01")
    assert answer.status_code == 400
    assert (await client.get("/v1/finance/accounts/-/ledger")).status_code == 404


@pytest.mark.parametrize("written", ["2026-01-01T01:00:00+01:00", "2026-01-01t00:00:00.123456789z"])
async def test_instants_as_people_and_programs_write_them(world, client, written):
    """A plus that was not escaped too; finer than microseconds is cut off."""
    await client.get(f"{TRIAL_BALANCE}?known_at={written}")
    assert asked(world)["known_at"].replace(microsecond=0) == datetime(2026, 1, 1, tzinfo=UTC)


def calendar(*years: int) -> FiscalCalendar:
    made = FiscalCalendar.blank(calendar_id(TENANT))
    for year in years:
        made.open_year(year=year, start=date(year - 1, 7, 1))
    return made


async def test_days_that_are_left_out_follow_from_the_fiscal_year(world, client):
    """The one that goes on, or the last one; of an income statement the one that its other day is in."""
    await client.get(TRIAL_BALANCE)
    assert asked(world)["as_of"] == datetime.now(UTC).date()
    world.store.keep(calendar(1998, 1999))
    answer = await client.get(TRIAL_BALANCE)
    assert asked(world)["as_of"] == date(1999, 6, 30)
    assert answer.json()["as_of"] == "1999-06-30"

    async def days(query: str) -> tuple[str, str]:
        await client.get(INCOME + query)
        return str(asked(world)["first"]), str(asked(world)["last"])

    assert await days("") == ("1998-07-01", "1999-06-30")
    assert await days("?from=1998-01-01") == ("1998-01-01", "1998-06-30")
    assert await days("?to=1998-01-01") == ("1997-07-01", "1998-01-01")
    assert await days("?to=1990-01-01") == ("1990-01-01", "1990-01-01")
    assert await days("?from=2005-01-01") == ("2005-01-01", "2005-01-01")
    assert await days("?from=1997-01-01&to=2005-01-01") == ("1997-01-01", "2005-01-01")
    await client.get(LEDGER)
    assert (asked(world)["first"], asked(world)["last"]) == (None, None)


def listed(reference: str) -> ListedEntry:
    day = date(2026, 1, 15)
    return ListedEntry(
        ID, "draft", "general", None, None, day, "EUR", "", reference, "1.00", ("1",), "bob", None, None
    )


async def test_entries_are_found_page_by_page(world, client):
    """By a cursor that is good for this list only."""
    world.read_side.answer = ListedEntries((listed("a"), listed("b")), 42)
    query = {"account": "1122", "from": "2026-01-01", "to": "2026-12-31", "status": "draft", "reference": "r"}
    answer = await client.get(ENTRIES, params={**query, "limit": 2})
    assert [each["reference"] for each in answer.json()["items"]] == ["a", "b"]
    assert answer.headers["x-projection-position"] == "7"
    assert {name: asked(world)[name] for name in ("limit", "after", "account", "status", "reference")} == {
        "limit": 2,
        "after": 0,
        "account": "1122",
        "status": "draft",
        "reference": "r",
    }
    world.read_side.answer = ListedEntries((), None)
    cursor = answer.json()["next_cursor"]
    answer = await client.get(ENTRIES, params={**query, "cursor": cursor})
    assert answer.json() == {"items": [], "next_cursor": None}
    assert (asked(world)["after"], asked(world)["limit"]) == (42, 100)
    assert (await client.get("/v1/finance/accounts", params={"cursor": cursor})).status_code == 400
    for wrong in (
        "cursor=x",
        "limit=0",
        "limit=1001",
        "status=posting",
        "account=-",
        "known_at=2026-01-01T00:00:00Z",
    ):
        assert (await client.get(f"{ENTRIES}?{wrong}")).status_code == 400, wrong
    assert (await client.get(ENTRIES, headers={"Accept": "application/pdf"})).status_code == 406


async def test_a_list_as_csv(world, client):
    """A page of it; what cannot be in the table, the way to the next page, is a header."""
    world.read_side.answer = ListedEntries((listed("a"), listed("b, c")), 42)
    query = {"account": "1122", "reference": "a & ü", "limit": "2"}
    answer = await client.get(ENTRIES, params=query, headers=CSV)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="journal-entries.csv"'
    assert answer.headers["x-projection-position"] == "7"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(each["reference"], each["accounts"]) for each in rows] == [("a", '["1"]'), ("b, c", '["1"]')]
    following = answer.links["next"]["url"]
    world.read_side.answer = ListedEntries((), None)
    answer = await client.get(answer.url.join(following), headers=CSV)
    assert {name: asked(world)[name] for name in ("after", "limit", "account", "reference")} == {
        "after": 42,
        "limit": 2,
        "account": "1122",
        "reference": "a & ü",
    }
    assert answer.text.count("\r\n") == 1
    assert "link" not in answer.headers


@pytest.mark.parametrize("path", [TRIAL_BALANCE, ENTRIES, LEDGER])
async def test_who_may_not_read_them(world, path):
    """Reports have a permission of their own."""
    async with world.client("storekeeper") as client:
        assert (await client.get(path)).status_code == 403
    async with world.client("auditor") as client:
        world.read_side.refusal = Lagging(1)
        assert (await client.get(path)).status_code == 503


async def test_reports_are_described(client):
    """Parameters, both forms, and why there may be no answer."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    report = paths["/v1/finance/accounts/{code}/ledger"]["get"]
    named = {each["name"]: each for each in report["parameters"] if "name" in each}
    assert named["code"]["in"] == "path"
    assert named["from"]["schema"] == {"type": "string", "format": "date"}
    assert not named["from"]["required"]
    assert {"#/components/parameters/Prefer", "#/components/parameters/ReportPosition"} <= {
        each.get("$ref") for each in report["parameters"]
    }
    assert set(report["responses"]["200"]["content"]) == {"application/json", "text/csv"}
    assert {"404", "406", "422", "503"} < set(report["responses"])
    assert "404" not in paths[TRIAL_BALANCE]["get"]["responses"]
    assert paths[TRIAL_BALANCE]["get"]["operationId"] == "finance.trial_balance"
    search = paths[ENTRIES]["get"]
    assert set(search["responses"]["200"]["content"]) == {"application/json", "text/csv"}
    assert {"account", "from", "to", "status", "reference"} == {
        each["name"] for each in search["parameters"] if "name" in each
    }
