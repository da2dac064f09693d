"""Journal entries over HTTP: posted, drafted, reversed, numbered, and seen by four eyes."""

from typing import Any

import pytest

from tests.e2e.contract import ACCOUNTS, PERIODS, credit, debit
from tests.e2e.system import ENTRIES, Books, is_problem

pytestmark = pytest.mark.e2e


def test_a_posted_entry(books: Books) -> None:
    """It shows what was sent, with a number, a document number and totals; what was left out is empty."""
    first = books.post("A").json()
    lines: list[dict[str, Any]] = [
        {
            "account": "1122",
            "debit": "1130",
            "memo": "invoice",
            "dimensions": {"cost_centre": "4711"},
            "party": "c-1",
        },
        {"account": "6001", "credit": "1130.0"},
    ]
    told = books.post("INV-1", memo="Sale", lines=lines).json()
    shown = books.get(f"{ENTRIES}/{told['id']}")
    assert shown | {"drafted_by": None} == {
        "id": told["id"],
        "version": 1,
        "status": "posted",
        "journal": "general",
        "number": 2,
        "document_no": "general/2026/000002",
        "posting_date": "2026-01-15",
        "currency": "EUR",
        "memo": "Sale",
        "reference": "INV-1",
        "lines": [
            {**lines[0], "debit": "1130.00", "credit": None},
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
        "drafted_by": None,
        "reverses": None,
        "reversed_by": None,
    }
    assert books.get(f"{ENTRIES}/{first['id']}")["number"] == 1


def test_numbers_count_by_journal_and_fiscal_year(books: Books) -> None:
    """Gapless within each, and failed commands and drafts take none."""
    books.ok("POST", "/v1/finance/fiscal-years", json={"year": 2027, "start": "2027-01-01"})

    def document_no(**changes: Any) -> str:
        answer = books.post(**changes)
        assert answer.status_code == 201, answer.text
        return str(books.get(answer.headers["location"])["document_no"])

    assert document_no() == "general/2026/000001"
    assert document_no(journal="sales") == "sales/2026/000001"
    assert document_no(posting_date="2027-05-01") == "general/2027/000001"
    assert books.post(lines=[debit("1122"), credit("nowhere")]).status_code == 422
    draft = books.post(post=False)
    assert books.get(draft.headers["location"])["number"] is None
    assert document_no() == "general/2026/000002"
    books.ok("POST", f"{draft.headers['location']}/post")
    assert books.get(draft.headers["location"])["document_no"] == "general/2026/000003"


def test_minor_units(books: Books) -> None:
    """Amounts have the decimals of their currency: none of the yen, three of the dinar."""
    for currency, sent, shown in (
        ("JPY", "1130", "1130"),
        ("BHD", "0.001", "0.001"),
        ("CLF", "1.5", "1.5000"),
    ):
        posted = books.post(currency=currency, amount=sent)
        assert posted.status_code == 201, posted.text
        assert books.get(posted.headers["location"])["totals"]["debit"] == shown
    assert is_problem(books.post(currency="JPY", amount="1130.0"), 400)


def test_a_draft(books: Books) -> None:
    """It can be read, posted once or discarded; a discarded one is 404 with its own code, everywhere."""
    draft = books.post(post=False)
    where = draft.headers["location"]
    assert draft.status_code == 201
    shown = books.get(where)
    assert (shown["status"], shown["number"], shown["document_no"]) == ("draft", None, None)
    reversal = {"posting_date": "2026-01-15", "reason": "x"}
    assert is_problem(books.send("POST", f"{where}/reverse", json=reversal), 422, "finance.entry_not_posted")
    posted = books.send("POST", f"{where}/post")
    assert (posted.status_code, posted.headers["location"]) == (200, where)
    assert is_problem(books.send("POST", f"{where}/post"), 422, "finance.entry_already_posted")
    assert is_problem(books.send("DELETE", where), 422, "finance.entry_already_posted")
    other = books.post(post=False).headers["location"]
    assert books.send("DELETE", other).status_code == 200
    for answer in (
        books.send("GET", other),
        books.send("DELETE", other),
        books.send("POST", f"{other}/post"),
        books.send("POST", f"{other}/reverse", json=reversal),
    ):
        assert is_problem(answer, 404, "finance.entry_discarded"), answer.text


def test_a_draft_is_judged_when_it_is_posted(books: Books) -> None:
    """Accounts and periods may have changed since it was drafted."""
    where = books.post(post=False).headers["location"]
    books.ok("POST", f"{PERIODS}/2026-01/close")
    assert is_problem(books.send("POST", f"{where}/post"), 422, "finance.period_closed")
    books.ok("POST", f"{PERIODS}/2026-01/reopen")
    books.ok("POST", f"{ACCOUNTS}/1122/close")
    assert is_problem(books.send("POST", f"{where}/post"), 422, "finance.account_closed")
    assert books.get(where)["status"] == "draft"


def test_a_reversal(books: Books) -> None:
    """A new entry with its own date and number and sides swapped, linked both ways, not before the original,
    in an open period, and only once.
    """
    original = books.post("A").headers["location"]
    body = {"posting_date": "2026-02-01", "reason": "wrong customer"}
    early = books.send("POST", f"{original}/reverse", json={**body, "posting_date": "2026-01-14"})
    assert is_problem(early, 422, "finance.reversal_before_original"), early.text
    outside = books.send("POST", f"{original}/reverse", json={**body, "posting_date": "2030-01-01"})
    assert is_problem(outside, 422, "finance.no_period")
    assert is_problem(books.send("POST", f"{original}/reverse", json={"posting_date": "2026-02-01"}), 400)
    assert is_problem(books.send("POST", f"{original}/reverse", json={**body, "reason": ""}), 400)
    done = books.send("POST", f"{original}/reverse", json=body)
    assert (done.status_code, done.json()["version"]) == (201, 1)
    new, old = books.get(done.headers["location"]), books.get(original)
    assert new["id"] == done.json()["id"]
    assert (new["status"], new["number"], new["posting_date"]) == ("posted", 2, "2026-02-01")
    assert (new["reverses"], old["reversed_by"]) == (old["id"], new["id"])
    assert (old["status"], old["number"], old["lines"][0]["debit"]) == ("reversed", 1, "10.00")
    assert (new["lines"][0]["account"], new["lines"][0]["credit"], new["lines"][0]["debit"]) == (
        "1122",
        "10.00",
        None,
    )
    again = books.send("POST", f"{original}/reverse", json=body)
    assert is_problem(again, 422, "finance.entry_already_reversed"), again.text
    ((last,),) = books.home.rows("SELECT max(position) FROM erp.events WHERE tenant = %s", books.tenant)
    assert done.json()["position"] == last, "the position is that of the command's last event"


def test_four_eyes(books: Books) -> None:
    """Above the threshold the one who drafted may not post, `post: true` included; another user may."""
    assert books.ok("PUT", "/v1/finance/approval-policy", json={"currency": "EUR", "threshold": "100.00"})
    bob = books.by("bob")
    assert books.post(amount="100.00").status_code == 201
    assert is_problem(books.post(amount="100.01"), 422, "finance.approval_required")
    assert books.post(amount="100.01", currency="USD").status_code == 201
    where = books.post(amount="100.01", post=False).headers["location"]
    own = books.send("POST", f"{where}/post")
    assert is_problem(own, 422, "finance.approval_required"), own.text
    assert bob.send("POST", f"{where}/post").status_code == 200
    body = {"posting_date": "2026-01-15", "reason": "x"}
    assert is_problem(books.send("POST", f"{where}/reverse", json=body), 422, "finance.approval_required")
    assert bob.send("POST", f"{where}/reverse", json=body).status_code == 201
    books.ok("PUT", "/v1/finance/approval-policy", json={"currency": "EUR", "threshold": "0"})
    assert is_problem(books.post(amount="0.01"), 422, "finance.approval_required")
    assert is_problem(
        books.send("PUT", "/v1/finance/approval-policy", json={"currency": "EUR", "threshold": "-1"}), 422
    )
