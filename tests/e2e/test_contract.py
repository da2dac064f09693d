"""The Finance contract over HTTP, as someone would check it who has nothing but its text."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from tests.e2e.system import ENTRIES, Api, Books, Home, bulk_line, entry, is_problem

pytestmark = pytest.mark.e2e

ACCOUNTS = "/v1/finance/accounts"
PERIODS = "/v1/finance/periods"
CASH = {"code": "1000", "name": "Cash", "type": "asset"}
NOBODY = "00000000-0000-4000-8000-000000000000"


def status_of(books: Books, period: str) -> str:
    (found,) = [each for each in books.get(f"{PERIODS}?limit=1000")["items"] if each["period"] == period]
    return str(found["status"])


# The answer to a command


def test_the_answer_to_a_command_that_creates(books: Books) -> None:
    """201 with id, version, position and an instant in UTC; Location leads to it, ETag is its version."""
    answer = books.post("A-1")
    told = answer.json()
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert told.keys() == {"id", "version", "position", "recorded_at"}
    assert str(UUID(told["id"])) == told["id"]
    assert (told["version"], answer.headers["etag"]) == (1, '"1"')
    assert datetime.fromisoformat(told["recorded_at"]).utcoffset() == timedelta(0)
    shown = books.send("GET", answer.headers["location"])
    assert shown.json()["id"] == told["id"]
    assert shown.headers["etag"] == '"1"'
    ((position, recorded_at),) = books.home.rows(
        "SELECT position, recorded_at FROM erp.events WHERE stream_id = %s", told["id"]
    )
    assert (position, recorded_at) == (told["position"], datetime.fromisoformat(told["recorded_at"]))


def test_the_answer_to_a_command_that_changes(books: Books) -> None:
    """200 with the version of the stream that was written."""
    answer = books.send("POST", f"{PERIODS}/2026-01/close")
    assert (answer.status_code, answer.json()["version"], answer.headers["etag"]) == (200, 2, '"2"')


def test_positions_are_global_and_dense(books: Books) -> None:
    """Each event takes the next position, whichever tenant it belongs to."""
    first, second = books.post().json(), books.post().json()
    assert second["position"] == first["position"] + 1
    assert second["recorded_at"] > first["recorded_at"]


def test_a_replay(books: Books) -> None:
    """Same key and same request: the first answer again, and told so; the order of members and the spaces
    between them do not make another request.
    """
    key = uuid4().hex
    first = books.post("A-1", key=key)
    again = books.post("A-1", key=key)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("etag", "location", "content-type"):
        assert again.headers[name] == first.headers[name]
    spaced = orjson.dumps(dict(reversed(entry("A-1").items())), option=orjson.OPT_INDENT_2)
    otherwise = books.send(
        "POST", ENTRIES, content=spaced, headers={"Idempotency-Key": key, "Content-Type": "application/json"}
    )
    assert otherwise.content == first.content
    assert len(books.events("finance.journal_entry.posted")) == 1


def test_a_key_that_was_used_for_another_request(books: Books) -> None:
    """422 for another body, another path, and another method; nothing is stored."""
    key = uuid4().hex
    books.post("A-1", key=key)
    before = books.last
    headers = {"Idempotency-Key": key}
    policy = {"currency": "EUR", "threshold": "1.00"}
    for answer in (
        books.post("A-2", key=key),
        books.send("POST", f"{PERIODS}/2026-01/close", headers=headers),
        books.send("PUT", "/v1/finance/approval-policy", json=policy, headers=headers),
        books.send("POST", f"{ENTRIES}/{NOBODY}/post", headers=headers),
    ):
        assert is_problem(answer, 422, "idempotency_key_reused"), answer.text
    assert books.last == before


def test_a_refusal_is_not_kept(books: Books) -> None:
    """A refused command may be mended and sent again under its key."""
    key = uuid4().hex
    assert is_problem(books.post("A", key=key, posting_date="2030-01-01"), 422, "finance.no_period")
    assert books.post("A", key=key).status_code == 201


def test_a_replay_after_things_have_changed(books: Books) -> None:
    """A repeat is answered as at first even if the command would be refused by now."""
    key = uuid4().hex
    first = books.post("A", key=key)
    books.ok("POST", f"{PERIODS}/2026-01/close")
    assert is_problem(books.post("B"), 422, "finance.period_closed")
    assert books.post("A", key=key).content == first.content
    closed = {"Idempotency-Key": uuid4().hex, "If-Match": '"2"'}
    once = books.send("POST", f"{PERIODS}/2026-02/close", headers=closed)
    assert once.status_code == 200
    assert books.send("POST", f"{PERIODS}/2026-02/close", headers=closed).content == once.content


def test_a_key_is_the_tenants_own(home: Home, api: Api, books: Books) -> None:
    """Two tenants that use one key do not meet."""
    key = uuid4().hex
    other = Books.new(home, api.url).opened()
    try:
        ids = {books.post("A", key=key).json()["id"], other.post("A", key=key).json()["id"]}
        assert len(ids) == 2
        (mine,) = [each for each in ids if books.send("GET", f"{ENTRIES}/{each}").status_code == 200]
        assert is_problem(other.send("GET", f"{ENTRIES}/{mine}"), 404, "finance.entry_not_found")
        assert is_problem(
            other.send(
                "POST", f"{ENTRIES}/{mine}/reverse", json={"posting_date": "2026-01-15", "reason": "x"}
            ),
            404,
            "finance.entry_not_found",
        )
    finally:
        other.close()


def test_a_key_means_the_same_in_bulk(books: Books) -> None:
    """A command by its route and by its name is one request under one key."""
    key = uuid4().hex
    first = books.post("A", key=key).json()
    (told,) = books.bulk(bulk_line("finance.post_journal_entry", entry("A"), idempotency_key=key))
    assert (told["id"], told["version"], told["position"]) == (first["id"], 1, first["position"])
    draft = books.post("B", post=False).json()["id"]
    key = uuid4().hex
    (told,) = books.bulk(bulk_line("finance.post_draft", {"id": draft}, idempotency_key=key))
    again = books.send("POST", f"{ENTRIES}/{draft}/post", headers={"Idempotency-Key": key})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["position"] == told["position"]


def test_if_match(books: Books) -> None:
    """412 when the stream has moved on, nothing happens; the right version and `*` pass."""
    draft = books.post("A", post=False).json()["id"]
    before = books.last
    for wrong in ('"0"', '"2"', '"999"'):
        answer = books.send("POST", f"{ENTRIES}/{draft}/post", headers={"If-Match": wrong})
        assert is_problem(answer, 412, "version_mismatch"), answer.text
    assert books.last == before
    posted = books.send("POST", f"{ENTRIES}/{draft}/post", headers={"If-Match": '"1"'})
    assert (posted.status_code, posted.headers["etag"]) == (200, '"2"')
    reversal = {"posting_date": "2026-01-15", "reason": "x"}
    stale = books.send("POST", f"{ENTRIES}/{draft}/reverse", json=reversal, headers={"If-Match": '"1"'})
    assert is_problem(stale, 412, "version_mismatch")
    good = books.send("POST", f"{ENTRIES}/{draft}/reverse", json=reversal, headers={"If-Match": "*"})
    assert good.status_code == 201


def test_the_thread_of_a_request(books: Books) -> None:
    """X-Correlation-ID is echoed, made when it is missing or unfit, and kept with the event, as are
    traceparent, the actor and the reason.
    """
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    draft = books.post("A", post=False)
    assert re.fullmatch(r"[0-9a-f-]{36}", draft.headers["x-correlation-id"])
    headers = {"X-Correlation-ID": "order:4711/x", "traceparent": trace}
    bob = books.by("bob")
    posted = bob.send("POST", f"{ENTRIES}/{draft.json()['id']}/post", headers=headers)
    assert posted.headers["x-correlation-id"] == "order:4711/x"
    (event,) = books.events("finance.journal_entry.posted")
    assert event["metadata"] == {
        "actor": "bob",
        "command": "finance.post_draft",
        "correlation_id": "order:4711/x",
        "traceparent": trace,
    }
    unfit = books.send("GET", ACCOUNTS, headers={"X-Correlation-ID": "a b\tc", "traceparent": "00-0-0-0"})
    assert unfit.status_code == 200
    assert unfit.headers["x-correlation-id"] not in {"a b\tc", "order:4711/x"}
    books.ok("POST", f"{PERIODS}/2026-01/close", json={"reason": "month end"})
    (closed,) = books.events("finance.fiscal_calendar.period_closed")
    assert closed["metadata"]["reason"] == "month end"
    refused = books.send("POST", f"{PERIODS}/2026-01/close", headers={"X-Correlation-ID": "c-1"})
    assert (refused.status_code, refused.headers["x-correlation-id"]) == (422, "c-1")


def test_a_preference_changes_nothing_here(books: Books) -> None:
    """What reads the event store has seen every position, so that `Prefer` and `min_position` do no harm."""
    position = books.post().json()["position"]
    answer = books.send("GET", f"{ACCOUNTS}?min_position={position}", headers={"Prefer": "wait=5"})
    assert answer.status_code == 200


# Who may


def test_who_may_not(home: Home, books: Books) -> None:
    """401 without a token that holds, told how to authenticate; 403 without the permission or the tenant."""
    token, sound = books.token, home.token
    head, claims, signature = token.split(".")
    tampered = f"{head}.{claims[:-2]}{'A' if claims[-2] != 'A' else 'B'}{claims[-1]}.{signature}"
    bad = {
        None: 401,
        "": 401,
        "Bearer": 401,
        f"Basic {token}": 401,
        "Bearer x.y.z": 401,
        f"Bearer {tampered}": 401,
        f"Bearer {head}.{claims}.": 401,
        f"Bearer {_unsigned(claims)}": 401,
        f"Bearer {sound(books.name, ttl_s=-1)}": 401,
        f"Bearer {sound(books.name, user='')}": 401,
        f"Bearer {sound('no such tenant')}": 403,
        f"Bearer {sound(books.name, roles=())}": 403,
        f"Bearer {sound(books.name, roles=('root', 'superuser'))}": 403,
        f"Bearer {sound(books.name, roles=('storekeeper', 'sales', 'cashier'))}": 403,
        f"Bearer {sound(books.name, roles=(), permissions=('finance.accounts:write',))}": 403,
    }
    before = books.last
    with httpx.Client(base_url=books.base_url) as anyone:
        for authorization, status in bad.items():
            headers = {} if authorization is None else {"Authorization": authorization}
            for answer in (
                anyone.post(ENTRIES, json=entry(), headers=headers),
                anyone.get(f"{ENTRIES}/{NOBODY}", headers=headers),
            ):
                assert is_problem(answer, status), (authorization, answer.text)
                assert ("www-authenticate" in answer.headers) == (status == 401)
    assert books.last == before


def _unsigned(claims: str) -> str:
    """`alg: none`, the oldest trick."""
    return f"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."


MAY: Mapping[str, set[str]] = {
    "admin": {"read", "chart", "calendar", "policy", "draft", "post", "discard"},
    "controller": {"read", "chart", "calendar", "policy", "draft", "post", "discard"},
    "accountant": {"read", "draft", "post", "discard"},
    "auditor": {"read"},
    "storekeeper": set(),
    "sales": set(),
    "cashier": set(),
}


@pytest.mark.parametrize("role", MAY)
def test_what_a_role_may(books: Books, role: str) -> None:
    """Each role may do what the contract says, and gets 403 `permission_denied` for everything else."""
    draft = books.post(post=False).json()["id"]
    user = books.by(f"the {role}", role)
    before = books.last
    asked = {
        "read": ("GET", f"{ENTRIES}/{draft}", None),
        "chart": ("POST", ACCOUNTS, CASH),
        "calendar": ("POST", f"{PERIODS}/2026-01/close", {}),
        "policy": ("PUT", "/v1/finance/approval-policy", {"currency": "JPY", "threshold": "1"}),
        "draft": ("POST", ENTRIES, entry(post=False)),
        "post": ("POST", ENTRIES, entry(posting_date="2026-02-01")),
        "discard": ("DELETE", f"{ENTRIES}/{draft}", None),
    }
    for what, (method, path, body) in asked.items():
        answer = user.send(method, path, **({} if body is None else {"json": body}))
        if what in MAY[role]:
            assert answer.is_success, (what, answer.text)
        else:
            assert is_problem(answer, 403, "permission_denied"), (what, answer.text)
    if MAY[role] <= {"read"}:
        assert books.last == before


def test_bulk_asks_for_the_permission_of_each_line(books: Books) -> None:
    """One who may draft but not close is told so line by line."""
    told = books.by("ann", "accountant").bulk(
        bulk_line("finance.post_journal_entry", entry(post=False)),
        bulk_line("finance.close_period", {"period": "2026-01"}),
        bulk_line("finance.post_journal_entry", entry(post=False)),
    )
    assert [(each["status"], each.get("code")) for each in told] == [
        (201, None),
        (403, "permission_denied"),
        (201, None),
    ]


# Accounts


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
    refused = books.post(currency="GBP", lines=[_debit("1000"), _credit("6001")])
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
    assert books.post(lines=[_debit("1000"), _credit("6001")]).status_code == 201
    child = {"code": "1001", "name": "Till", "type": "asset", "parent": "1000"}
    other_type = books.send("POST", ACCOUNTS, json={**child, "type": "expense"})
    assert is_problem(other_type, 422, "finance.parent_type_differs")
    assert is_problem(
        books.send("POST", ACCOUNTS, json={**child, "parent": "9"}), 422, "finance.account_unknown"
    )
    books.ok("POST", ACCOUNTS, json=child)
    assert is_problem(books.post(lines=[_debit("1000"), _credit("6001")]), 422, "finance.account_not_leaf")
    assert books.post(lines=[_debit("1001"), _credit("6001")]).status_code == 201
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


# Fiscal years and periods


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


# Journal entries


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
    assert books.post(lines=[_debit("1122"), _credit("nowhere")]).status_code == 422
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


# Bulk


def test_bulk(books: Books) -> None:
    """An answer a line in the same order, each line by itself, of every command by its name."""
    draft = books.post(post=False).json()["id"]
    lines = [
        bulk_line("finance.open_account", CASH),
        bulk_line("finance.post_journal_entry", entry("1")),
        bulk_line("finance.post_journal_entry", entry("2", lines=[_debit("1122"), _credit("6001", "9.99")])),
        b"not json\n",
        bulk_line("finance.discard_draft", {"id": draft}),
        bulk_line("finance.set_approval_policy", {"currency": "USD", "threshold": "5.00"}),
        bulk_line("finance.close_period", {"period": "2031-01"}),
        bulk_line("finance.open_fiscal_year", {"year": 2027, "start": "2027-01-01"}),
        bulk_line("finance.post_journal_entry", entry("3")).rstrip(b"\n"),
    ]
    told = books.bulk(*lines)
    assert [each["line"] for each in told] == list(range(1, 10))
    assert [each["status"] for each in told] == [201, 201, 422, 400, 200, 200, 404, 201, 201]
    assert told[1].keys() == {"line", "status", "id", "version", "position"}
    assert told[2]["code"] == "finance.entry_unbalanced"
    assert told[2]["detail"]
    assert books.get(f"{ENTRIES}/{told[1]['id']}")["reference"] == "1"


def test_one_key_on_several_lines(books: Books) -> None:
    """The same line twice is done once and told twice; another line under that key is refused."""
    line = bulk_line("finance.post_journal_entry", entry("1"), idempotency_key="k")
    told = books.bulk(line, line, bulk_line("finance.post_journal_entry", entry("2"), idempotency_key="k"))
    good = [each for each in told if each["status"] == 201]
    assert len(books.events("finance.journal_entry.posted")) == 1
    assert len({each["id"] for each in good}) == 1
    assert {each["code"] for each in told if each["status"] != 201} == {"idempotency_key_reused"}


def _debit(account: str, amount: str = "10.00") -> dict[str, str]:
    return {"account": account, "debit": amount}


def _credit(account: str, amount: str = "10.00") -> dict[str, str]:
    return {"account": account, "credit": amount}
