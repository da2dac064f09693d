"""Accounts, fiscal years and periods over HTTP."""

import httpx
import pytest

from tests.e2e.contract import ACCOUNTS, CASH, PERIODS, credit, debit, status_of
from tests.e2e.system import Books, bulk_line, is_problem

pytestmark = pytest.mark.e2e


def test_an_account(books: Books) -> None:
    """It can be read as it was opened; what was left out is null."""
    opened = books.send("POST", ACCOUNTS, json={**CASH, "currencies": ["EUR", "USD"]})
    assert (opened.status_code, opened.headers["location"]) == (201, f"{ACCOUNTS}/1000")
    shown = books.get(f"{ACCOUNTS}/1000")
    assert {name: shown[name] for name in ("id", "code", "name", "type", "parent", "currencies")} == {
        "id": opened.json()["id"],
        **CASH,
        "parent": None,
        "currencies": ["EUR", "USD"],
    }
    assert is_problem(books.send("POST", ACCOUNTS, json=CASH), 409, "finance.account_exists")
    assert is_problem(books.send("GET", f"{ACCOUNTS}/2000"), 404, "finance.account_not_found")
    refused = books.post(currency="GBP", lines=[debit("1000"), credit("6001")])
    assert is_problem(refused, 422, "finance.currency_not_allowed"), refused.text


def test_a_code_with_blanks(books: Books) -> None:
    """A code may have spaces, dots and hyphens; Location is percent-encoded and leads there."""
    code = "A 1.b_c-D"
    opened = books.send("POST", ACCOUNTS, json={**CASH, "code": code})
    assert opened.headers["location"] == f"{ACCOUNTS}/A%201.b_c-D"
    assert books.get(opened.headers["location"])["code"] == code
    assert books.send("POST", f"{opened.headers['location']}/close").status_code == 200


def test_a_parent_takes_no_postings(books: Books) -> None:
    """As soon as it has a child; the child does, and needs its parent's type."""
    books.ok("POST", ACCOUNTS, json=CASH)
    assert books.post(lines=[debit("1000"), credit("6001")]).status_code == 201
    child = {"code": "1001", "name": "Till", "type": "asset", "parent": "1000"}
    other_type = books.send("POST", ACCOUNTS, json={**child, "type": "expense"})
    assert is_problem(other_type, 422, "finance.parent_type_differs")
    assert is_problem(
        books.send("POST", ACCOUNTS, json={**child, "parent": "9"}), 422, "finance.account_unknown"
    )
    books.ok("POST", ACCOUNTS, json=child)
    assert is_problem(books.post(lines=[debit("1000"), credit("6001")]), 422, "finance.account_not_leaf")
    assert books.post(lines=[debit("1001"), credit("6001")]).status_code == 201
    assert books.get(f"{ACCOUNTS}/1001")["parent"] == "1000"
    assert is_problem(books.send("POST", ACCOUNTS, json={**CASH, "code": "1002", "parent": "1002"}), 422), (
        "an account that is its own parent"
    )


def test_a_closed_account(books: Books) -> None:
    """It refuses postings, children, and being closed again."""
    closed = books.send("POST", f"{ACCOUNTS}/1122/close")
    assert (closed.status_code, closed.headers["etag"]) == (200, '"2"')
    assert is_problem(books.post(), 422, "finance.account_closed")
    assert is_problem(books.send("POST", f"{ACCOUNTS}/1122/close"), 422, "finance.account_closed")
    child = {"code": "1123", "name": "x", "type": "asset", "parent": "1122"}
    assert is_problem(books.send("POST", ACCOUNTS, json=child), 422, "finance.account_closed")
    assert books.get(f"{ACCOUNTS}/1122")["status"] == "closed"


def test_a_list_in_pages(books: Books) -> None:
    """`limit` and `cursor` lead through the whole list once, in order, also while it grows."""
    codes = [f"2{number:03}" for number in range(25)]
    told = books.bulk(*(bulk_line("finance.open_account", {**CASH, "code": code}) for code in codes))
    assert {each["status"] for each in told} == {201}
    seen: list[str] = []
    cursor = ""
    for page in range(20):
        answer = books.get(f"{ACCOUNTS}?limit=4{cursor}")
        assert len(answer["items"]) <= 4
        seen += [each["code"] for each in answer["items"]]
        if page == 1:
            books.ok("POST", ACCOUNTS, json={**CASH, "code": "latecomer"})
        if answer["next_cursor"] is None:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    assert len(seen) == len(set(seen))
    assert set(seen) == {"1122", "6001", "latecomer", *codes}
    assert books.get(f"{ACCOUNTS}?limit=1000")["next_cursor"] is None
    assert len(books.get(ACCOUNTS)["items"]) == 28


def test_a_fiscal_year(empty_books: Books) -> None:
    """Twelve monthly periods, also from another month on, with every leap day in one."""
    books = empty_books
    assert books.get(PERIODS) == {"items": [], "next_cursor": None}
    books.ok("POST", "/v1/finance/fiscal-years", json={"year": 2024, "start": "2023-04-01"})
    shown = books.get(PERIODS)["items"]
    assert [each["period"] for each in shown] == [f"2024-{month:02}" for month in range(1, 13)]
    assert (shown[0]["start"], shown[-1]["end"]) == ("2023-04-01", "2024-03-31")
    assert (shown[10]["start"], shown[10]["end"]) == ("2024-02-01", "2024-02-29")
    assert {each["status"] for each in shown} == {"open"}
    years = "/v1/finance/fiscal-years"
    assert is_problem(
        books.send("POST", years, json={"year": 2024, "start": "2024-04-01"}), 409, "finance.year_exists"
    )
    assert is_problem(
        books.send("POST", years, json={"year": 2025, "start": "2024-03-01"}), 422, "finance.years_overlap"
    )
    assert is_problem(books.send("POST", years, json={"year": 2025, "start": "2025-01-02"}), 422)
    for year in ("2025", 2025.0, 0, -1, 10_000, True, 10**30):
        assert is_problem(books.send("POST", years, json={"year": year, "start": "2025-01-01"}), 400), year


def test_periods_in_order_only(books: Books) -> None:
    """Closed in order, only the last closed reopened, locked in order and for good."""

    def step(period: str, does: str) -> httpx.Response:
        return books.send("POST", f"{PERIODS}/{period}/{does}")

    assert is_problem(step("2026-02", "close"), 422, "finance.period_out_of_order")
    assert is_problem(step("2026-01", "reopen"), 422, "finance.period_not_closed")
    assert is_problem(step("2026-01", "lock"), 422, "finance.period_not_closed")
    for month in ("2026-01", "2026-02", "2026-03"):
        assert step(month, "close").status_code == 200
    assert is_problem(step("2026-01", "close"), 422, "finance.period_not_open")
    assert is_problem(step("2026-02", "reopen"), 422, "finance.period_out_of_order")
    assert is_problem(step("2026-02", "lock"), 422, "finance.period_out_of_order")
    assert step("2026-03", "reopen").status_code == 200
    assert books.post(posting_date="2026-03-31").status_code == 201
    assert is_problem(books.post(posting_date="2026-02-28"), 422, "finance.period_closed")
    assert step("2026-01", "lock").status_code == 200
    assert is_problem(step("2026-01", "reopen"), 422, "finance.period_locked")
    assert is_problem(books.post(posting_date="2026-01-31"), 422, "finance.period_closed")
    assert [status_of(books, f"2026-0{month}") for month in (1, 2, 3)] == ["locked", "closed", "open"]
    assert is_problem(step("2031-01", "close"), 404, "finance.period_not_found")
