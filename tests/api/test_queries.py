"""Queries that read the event store: how things look, pages, and parameters."""

from dataclasses import asdict
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from api.params import cursor
from api.routing import Query
from commands.permissions import Permissions
from domain.finance.account import CHART_SERIES, Account, AccountType, account_id
from domain.finance.account_mapping import AccountMapping, RoleAccounts, account_mapping_id, codes
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.books import Books
from domain.finance.double_entry import EntryContent, JournalLine
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from domain.finance.journal_entry import JournalEntry
from tests.api.world import ENTRIES, TENANT

ACCOUNTS = "/v1/finance/accounts"
PERIODS = "/v1/finance/periods"


def an_account(code: str, **more) -> Account:
    opened = Account.blank(account_id(TENANT, code))
    opened.open(code=code, name=f"Account {code}", type=AccountType.ASSET, **more)
    return opened


def a_calendar(*years: int) -> FiscalCalendar:
    calendar = FiscalCalendar.blank(calendar_id(TENANT))
    for year in years:
        calendar.open_year(year, date(year, 1, 1))
    return calendar


def content(currency: str = "EUR", amount: str = "1130") -> EntryContent:
    lines = (
        JournalLine("1122", Decimal(amount), None, "left", {"cost_centre": "A"}, "customer-1"),
        JournalLine("6001", None, Decimal(amount)),
    )
    return EntryContent("general", date(2026, 1, 15), currency, "Invoice 17", "INV-17", lines)


def posted(**more) -> JournalEntry:
    books = Books(
        accounts={code: an_account(code) for code in ("1122", "6001")},
        calendar=a_calendar(2026),
        policy=ApprovalPolicy.blank(uuid4()),
    )
    entry = JournalEntry.blank(uuid4())
    entry.post(content(**more), books, by="alice")
    return entry


async def test_an_account(client, world):
    """By its code, with its version as ETag; nobody is to keep it."""
    account = an_account("11 A", currencies=("EUR", "USD"))
    world.store.keep(account)
    answer = await client.get(f"{ACCOUNTS}/11%20A")
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "id": str(account.id),
        "code": "11 A",
        "name": "Account 11 A",
        "type": "asset",
        "parent": None,
        "currencies": ["EUR", "USD"],
        "status": "open",
        "is_leaf": True,
        "version": 1,
    }


async def test_a_parent_and_a_closed_account(client, world):
    """A parent is no leaf, a closed account is closed."""
    parent, closed = an_account("1"), an_account("2")
    child = an_account("11", parent_code="1", parent=parent)
    closed.close("2")
    world.store.keep(parent, child, closed)
    assert (await client.get(f"{ACCOUNTS}/1")).json()["is_leaf"] is False
    assert (await client.get(f"{ACCOUNTS}/11")).json()["parent"] == "1"
    assert (await client.get(f"{ACCOUNTS}/2")).json()["status"] == "closed"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{ACCOUNTS}/404", "finance.account_not_found"),
        (f"{ACCOUNTS}/%00", "not_found"),
        (f"{ACCOUNTS}/%F0%9F%92%B6", "not_found"),
        (f"{ENTRIES}/{UUID(int=7)}", "finance.entry_not_found"),
        (f"{ENTRIES}/7", "not_found"),
    ],
)
async def test_what_is_not_there(client, path, code):
    """404, with the domain's code when such a name could be there."""
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_the_chart_in_pages(client, world):
    """In the order of opening; the cursor leads from page to page and ends with null."""
    codes = [f"{number:04}" for number in range(130)]
    world.store.keep(*(an_account(code) for code in codes), series=CHART_SERIES)
    seen: list[str] = []
    parameters: dict[str, str] = {}
    pages = 0
    while True:
        page = (await client.get(ACCOUNTS, params={"limit": 60, **parameters})).json()
        seen += [item["code"] for item in page["items"]]
        pages += 1
        if page["next_cursor"] is None:
            break
        parameters = {"cursor": page["next_cursor"]}
    assert (seen, pages) == (codes, 3)
    assert len((await client.get(ACCOUNTS)).json()["items"]) == 100


async def test_an_empty_list(client):
    """Has no items, and no next page."""
    for path in (ACCOUNTS, PERIODS):
        assert (await client.get(path)).json() == {"items": [], "next_cursor": None}


async def test_the_periods_in_pages(client, world):
    """Of all years in order of time, with their status."""
    calendar = a_calendar(2026, 2025)
    calendar.close_period("2025-01")
    calendar.lock_period("2025-01")
    calendar.close_period("2025-02")
    world.store.keep(calendar)
    page = (await client.get(PERIODS, params={"limit": 23})).json()
    assert page["items"][:3] == [
        {
            "period": "2025-01",
            "fiscal_year": 2025,
            "start": "2025-01-01",
            "end": "2025-01-31",
            "status": "locked",
        },
        {
            "period": "2025-02",
            "fiscal_year": 2025,
            "start": "2025-02-01",
            "end": "2025-02-28",
            "status": "closed",
        },
        {
            "period": "2025-03",
            "fiscal_year": 2025,
            "start": "2025-03-01",
            "end": "2025-03-31",
            "status": "open",
        },
    ]
    rest = (await client.get(PERIODS, params={"limit": 23, "cursor": page["next_cursor"]})).json()
    assert [item["period"] for item in rest["items"]] == ["2026-12"]
    assert rest["next_cursor"] is None


async def test_a_draft(client, world):
    """Amounts as strings with the currency's decimals, the other side null, no number yet."""
    entry = JournalEntry.blank(uuid4())
    entry.draft(content(), by="alice")
    world.store.keep(entry)
    answer = await client.get(f"{ENTRIES}/{entry.id}")
    assert answer.headers["etag"] == '"1"'
    assert answer.json() == {
        "id": str(entry.id),
        "version": 1,
        "status": "draft",
        "journal": "general",
        "number": None,
        "document_no": None,
        "posting_date": "2026-01-15",
        "currency": "EUR",
        "memo": "Invoice 17",
        "reference": "INV-17",
        "lines": [
            {
                "account": "1122",
                "debit": "1130.00",
                "credit": None,
                "memo": "left",
                "dimensions": {"cost_centre": "A"},
                "party": "customer-1",
            },
            {
                "account": "6001",
                "debit": None,
                "credit": "1130.00",
                "memo": "",
                "dimensions": {},
                "party": None,
            },
        ],
        "totals": {"debit": "1130.00", "credit": "1130.00"},
        "drafted_by": "alice",
        "reverses": None,
        "reversed_by": None,
    }


async def test_a_posted_entry_has_its_number(client, world):
    """And a currency without minor units no decimals."""
    entry = posted(currency="JPY")
    entry.number = 123
    world.store.keep(entry)
    told = (await client.get(f"{ENTRIES}/{entry.id}")).json()
    assert (told["status"], told["number"], told["document_no"]) == ("posted", 123, "general/2026/000123")
    assert told["totals"] == {"debit": "1130", "credit": "1130"}


async def test_a_discarded_draft_is_gone(client, world):
    """404, with a code that says what became of it."""
    entry = JournalEntry.blank(uuid4())
    entry.draft(content(), by="alice")
    entry.discard()
    world.store.keep(entry)
    answer = await client.get(f"{ENTRIES}/{entry.id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "finance.entry_discarded")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1&limit=2",
        "limit=%D9%A1",
        "cursor=",
        "cursor=x",
        "cursor=%FF",
        "cursor=" + cursor("finance.period", 3),
        "cursor=" + cursor("finance.account", 3) + "=",
        "cursor=" + cursor("finance.account", 0),
        "min_position=-1",
        "min_position=9223372036854775808",
        "lmit=5",
        "a=1&b",
        "%00=1",
    ],
)
async def test_malformed_parameters_are_refused(client, query):
    """400; a parameter misspelt is not passed over."""
    answer = await client.get(f"{ACCOUNTS}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text


@pytest.mark.parametrize(
    "query", ["limit=1", "limit=1000", "min_position=0", "min_position=9223372036854775807"]
)
async def test_the_bounds_of_parameters_are_inside(client, query):
    """1 to 1000; any position there can be."""
    assert (await client.get(f"{ACCOUNTS}?{query}")).status_code == 200


async def test_personal_data_is_opened_for_those_who_may(world):
    """Others get none, nor does anybody once its key is gone."""
    sealed = await world.vault.seal(TENANT, "c-1", {"name": "Erika"})
    for granted, opened in (["sales.personal_data:read"], {"name": "Erika"}), (["sales.orders:read"], None):
        query = Query(world.store, world.vault, TENANT, Permissions(granted), {})
        assert await query.opened(sealed, "sales.personal_data:read") == opened
    world.vault.gone.add(sealed.key)
    query = Query(world.store, world.vault, TENANT, Permissions(["*"]), {})
    assert await query.opened(sealed, "sales.personal_data:read") is None


async def test_the_account_mapping(client, world):
    """404 until it is set; then what was set, with its version as ETag."""
    nothing = await client.get("/v1/finance/account-mapping")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "finance.account_mapping_not_set")
    roles = RoleAccounts(*(str(1000 + n) for n in range(9)))
    mapping = AccountMapping.blank(account_mapping_id(TENANT))
    mapping.set(roles, {"north": "1000"}, {code: an_account(code) for code in codes(roles, {})})
    world.store.keep(mapping)
    answer = await client.get("/v1/finance/account-mapping")
    assert answer.headers["etag"] == '"1"'
    assert answer.json() == {"accounts": asdict(roles), "warehouses": {"north": "1000"}, "version": 1}
