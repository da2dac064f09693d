"""The answer to a command over HTTP: told once, told again under its key, and never for another request."""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.e2e.contract import ACCOUNTS, NOBODY, PERIODS
from tests.e2e.shop import ADDRESS, ORDERS
from tests.e2e.system import ENTRIES, Api, Books, Home, bulk_line, entry, is_problem

pytestmark = pytest.mark.e2e


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


def an_order(sku: str) -> dict[str, Any]:
    return {
        "customer_id": "c-1",
        "customer_tier": "gold",
        "currency": "EUR",
        "warehouse": "main",
        "lines": [a_line(sku)],
        "shipping_address": ADDRESS,
        "payment": {"method": "card", "token": "tok_ok"},
    }


def a_line(sku: str) -> dict[str, str]:
    return {"sku": sku, "name": "Tea", "quantity": "2", "unit_price": "3.50"}


def test_the_answer_to_an_order(books: Books) -> None:
    """What it comes to, as the order itself tells it; also when it is repeated after it has changed, and in
    bulk, where `status` is that of HTTP. 422 where a line is of no item: the path has not named it.
    """
    for sku in ("A1", "B2"):
        item = {"sku": sku, "name": "Tea", "unit": "pcs", "valuation": "fifo", "currency": "EUR"}
        books.ok("POST", "/v1/inventory/items", json=item)
    order, key = an_order("A1"), uuid4().hex
    first = books.send("POST", ORDERS, json=order, headers={"Idempotency-Key": key})
    told = first.json()
    path = f"{ORDERS}/{told['id']}"
    assert (told["status"], told["subtotal"], told["total"]) == ("pending", "7.00", "17.56")
    shown = books.get(path)
    assert told.keys() - shown.keys() == {"position", "recorded_at"}
    assert {name: shown[name] for name in told.keys() & shown.keys()} == {
        name: told[name] for name in told.keys() & shown.keys()
    }
    for changed in (
        books.ok("POST", f"{path}/lines", json=a_line("B2")),
        books.ok("DELETE", f"{path}/lines/A1"),
    ):
        assert (changed.keys(), changed["status"]) == (told.keys(), "pending")
    assert ([each["sku"] for each in changed["lines"]], changed["revision"]) == (["B2"], 3)
    again = books.send("POST", ORDERS, json=order, headers={"Idempotency-Key": key})
    assert (again.headers["idempotency-replayed"], again.content) == ("true", first.content)
    (line,) = books.bulk(bulk_line("sales.place_order", order))
    assert (line["status"], line["total"], line["lines"]) == (201, "17.56", told["lines"])
    for refused in (
        books.send("POST", ORDERS, json=an_order("Z0")),
        books.send("POST", f"{path}/lines", json=a_line("Z0")),
    ):
        assert is_problem(refused, 422, "sales.item_unknown"), refused.text


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
