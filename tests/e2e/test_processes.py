"""Several API processes over one log: what one has decided holds for the others at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import httpx
import pytest

from tests.e2e.load import POSTED, REVERSED, Load
from tests.e2e.system import ENTRIES, Api, Books, Home, is_problem

pytestmark = pytest.mark.e2e

PERIODS = "/v1/finance/periods"


@pytest.fixture(scope="module")
def other_api(home: Home) -> Iterator[Api]:
    with Api(home.path) as running:
        yield running


@pytest.fixture
def other(books: Books, other_api: Api) -> Books:
    """The same books by way of another process."""
    return books.by("alice", base_url=other_api.url)


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def test_what_one_closes_the_other_refuses_at_once(books: Books, other: Books) -> None:
    """Also though the other has the open period and the open account in its memory."""
    for month in range(1, 7):
        assert other.post(posting_date=f"2026-{month:02}-28").status_code == 201
        books.ok("POST", f"{PERIODS}/2026-{month:02}/close")
        assert is_problem(other.post(posting_date=f"2026-{month:02}-28"), 422, "finance.period_closed")
        other.ok("POST", f"{PERIODS}/2026-{month:02}/reopen")
        assert books.post(posting_date=f"2026-{month:02}-28").status_code == 201
        books.ok("POST", f"{PERIODS}/2026-{month:02}/close")
    assert other.post(posting_date="2026-12-01").status_code == 201
    books.ok("POST", "/v1/finance/accounts/1122/close")
    assert is_problem(other.post(posting_date="2026-12-01"), 422, "finance.account_closed")
    assert other.get("/v1/finance/accounts/1122")["status"] == "closed"


def test_a_period_closes_among_64_postings(books: Books, other: Books, clients: ThreadPoolExecutor) -> None:
    """Every entry is before the close in the log, or was refused: none slips in behind it."""
    ways = cycle([books, other])
    posts = [clients.submit(way.post, str(number)) for number, way in zip(range(64), ways, strict=False)]
    assert posts[0].result().status_code == 201
    close = clients.submit(books.send, "POST", f"{PERIODS}/2026-01/close")
    late = [clients.submit(way.post, f"late {number}") for number, way in zip(range(64), ways, strict=False)]
    assert close.result().status_code == 200, close.result().text
    told = [each.result() for each in (*posts, *late)]
    told.append(other.post("later still"))
    (closed,) = books.events("finance.fiscal_calendar.period_closed")
    taken = [answer.json()["position"] for answer in told if answer.status_code == 201]
    refused = [answer for answer in told if answer.status_code != 201]
    assert all(is_problem(answer, 422, "finance.period_closed") for answer in refused)
    assert taken
    assert refused
    assert max(taken) < closed["position"]
    assert sorted(taken) == [event["position"] for event in books.events(POSTED)]


def test_one_account_opened_by_many(books: Books, other: Books, clients: ThreadPoolExecutor) -> None:
    """Exactly one opens it; the others are told that it is there."""
    account = {"code": "2000", "name": "Payables", "type": "liability"}
    ways = cycle([books, other])
    told = list(
        clients.map(
            lambda way: way.send("POST", "/v1/finance/accounts", json=account),
            [next(ways) for _ in range(32)],
        )
    )
    assert sorted(answer.status_code for answer in told) == [201] + [409] * 31
    assert len([each for each in books.get("/v1/finance/accounts")["items"] if each["code"] == "2000"]) == 1


def test_one_entry_reversed_by_many(books: Books, other: Books, clients: ThreadPoolExecutor) -> None:
    """Exactly one reversal; the others are told that it is done; no number is lost to them."""
    where = books.post().headers["location"]
    body = {"posting_date": "2026-01-31", "reason": "once"}
    ways = cycle([books, other])
    told = list(
        clients.map(
            lambda way: way.send("POST", f"{where}/reverse", json=body), [next(ways) for _ in range(32)]
        )
    )
    assert sorted(answer.status_code for answer in told) == [201] + [422] * 31
    assert len(books.events(REVERSED)) == 1
    assert [event["number"] for event in books.events(POSTED)] == [1, 2]
    assert books.get(f"{ENTRIES}/{other.post().json()['id']}")["number"] == 3


def test_one_key_used_by_many(books: Books, other: Books, clients: ThreadPoolExecutor) -> None:
    """The same request under one key at the same time through both: one entry, one answer for all."""
    ways = cycle([books, other])
    told = list(clients.map(lambda way: way.post("same", key="same"), [next(ways) for _ in range(32)]))
    assert {answer.status_code for answer in told} == {201}
    assert len({answer.content for answer in told}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in told) == 1
    assert len(books.events(POSTED)) == 1


def test_a_draft_posted_and_discarded_at_once(
    books: Books, other: Books, clients: ThreadPoolExecutor
) -> None:
    """Whichever comes first, it ends as one of them and never as both."""
    for _ in range(8):
        where = books.post(post=False).headers["location"]
        posted = clients.submit(books.send, "POST", f"{where}/post")
        discarded = clients.submit(other.send, "DELETE", where)
        assert sorted([posted.result().is_success, discarded.result().is_success]) == [False, True]
        shown = books.send("GET", where)
        assert shown.status_code == (200 if posted.result().is_success else 404)


def test_a_child_opened_among_postings_to_its_parent(
    books: Books, other: Books, clients: ThreadPoolExecutor
) -> None:
    """No posting to an account comes after it has become a parent."""
    child = {"code": "1122.1", "name": "Domestic", "type": "asset", "parent": "1122"}
    early = [clients.submit(other.post, str(number)) for number in range(24)]
    assert early[0].result().status_code == 201
    opened = clients.submit(books.send, "POST", "/v1/finance/accounts", json=child)
    late = [clients.submit(way.post, "late") for way in [other, books] * 24]
    assert opened.result().status_code == 201
    told = [each.result() for each in (*early, *late)]
    told.append(other.post("later still"))
    assert {answer.status_code for answer in told} == {201, 422}
    (became_parent,) = books.events("finance.account.child_opened")
    assert all(event["position"] < became_parent["position"] for event in books.events(POSTED))


def test_a_hot_stream_makes_progress(books: Books, other: Books, clients: ThreadPoolExecutor) -> None:
    """Many writers of one stream in two processes: every command is answered, and none gives up."""
    ways = cycle([books, other])

    def set_policy(number: int, way: Books) -> httpx.Response:
        policy = {"currency": "EUR", "threshold": f"{number}.00"}
        return way.send("PUT", "/v1/finance/approval-policy", json=policy)

    told = list(clients.map(set_policy, range(200), [next(ways) for _ in range(200)]))
    assert [answer.text for answer in told if answer.status_code != 200] == []
    assert sorted(answer.json()["version"] for answer in told) == list(range(1, 201))


def test_two_workers(home: Home, books: Books) -> None:
    """`--workers 2` is two processes behind one port: the same promises, and metrics of both together."""
    with Api(home.path, "--workers", "2") as api:
        there = books.by("alice", base_url=api.url)
        with Load(there, clients=16) as load:
            load.until_acknowledged(400)
        load.require_exactly_once()
        name = 'erp_commands_total{command="finance.post_journal_entry",outcome="done"}'
        counts = set()
        for _ in range(10):
            text = httpx.get(f"{api.url}/metrics").text
            counts |= {float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)}
        posted = [event for event in books.events(POSTED) if event["data"]["reverses"] is None]
        assert counts == {float(len(posted))}
