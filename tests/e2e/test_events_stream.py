"""GET /v1/events on the real server: what there is, then what comes, each once, whatever the client does."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx
import orjson
import pytest

from eventstore.cloudevents import decode_batch
from tests.e2e.system import Api, Books, Home, bulk_line, entry, is_problem, postgres_stopped
from tests.waiting import until

pytestmark = pytest.mark.e2e

PATH = "/v1/events"
MIB = 1024 * 1024
POSTED = "finance.journal_entry.posted"
STREAM = {"Accept": "text/event-stream"}


@dataclass
class Seen:
    """An event as it came."""

    id: int
    data: dict[str, Any]
    raw: bytes

    @property
    def type(self) -> str:
        return str(self.data["type"]).removeprefix("com.killer-erp.").rpartition(".v")[0]


class Follower:
    """A client that follows the events of its tenant."""

    def __init__(self, books: Books, query: str = "", **headers: str) -> None:
        self._context = contextlib.ExitStack()
        client = self._context.enter_context(httpx.Client(timeout=20, headers=books.headers))
        self.answer = self._context.enter_context(
            client.stream("GET", f"{books.base_url}{PATH}{query}", headers={**STREAM, **headers})
        )
        assert self.answer.status_code == 200, self.answer.read()
        self._lines = self.answer.iter_lines()

    def __iter__(self) -> Iterator[Seen]:
        fields: list[tuple[str, str]] = []
        for line in self._lines:
            name, _, value = line.partition(":")
            if line:
                fields.append((name, value.removeprefix(" ")))
                continue
            data = "\n".join(value for name, value in fields if name == "data")
            if data:
                yield Seen(int(dict(fields)["id"]), orjson.loads(data), data.encode())
            fields = []

    def take(self, count: int) -> list[Seen]:
        """The next so many events."""
        return [event for _, event in zip(range(count), self, strict=False)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()


def positions(books: Books) -> list[int]:
    rows = books.home.rows(
        "SELECT position FROM erp.events WHERE tenant = %s ORDER BY position", books.tenant
    )
    return [position for (position,) in rows]


def streams_open(api: Api) -> float:
    (line,) = (
        line
        for line in httpx.get(f"{api.url}/metrics").text.splitlines()
        if line.startswith("erp_http_event_streams ")
    )
    return float(line.split()[1])


def test_what_there_is_and_then_what_comes(books: Books) -> None:
    """One CloudEvent each, in commit order, with the position as its id; new ones within 0.1 s."""
    books.post("before")
    known = positions(books)
    with Follower(books) as follower:
        assert follower.answer.headers["content-type"] == "text/event-stream"
        caught_up = follower.take(len(known))
        assert [each.id for each in caught_up] == known
        took_s = []
        for number in range(10):
            posted = books.post(f"live {number}").json()
            answered = time.perf_counter()
            (event,) = follower.take(1)
            took_s.append(time.perf_counter() - answered)
            assert event.id == posted["position"]
            assert event.data["data"]["reference"] == f"live {number}"
    assert min(took_s) < 0.1
    assert sorted(took_s)[5] < 1, took_s
    # The very CloudEvent that goes to Kafka, but for what only partitions have.
    (published,) = decode_batch(b"[%b]" % caught_up[-1].raw)
    assert published.event.type == POSTED
    assert published.event.tenant == books.tenant
    assert published.is_whole


def test_after_and_types_choose(books: Books) -> None:
    """After a position; of some types; `Last-Event-ID` wins over `after`."""
    posted = [books.post(str(number)).json()["position"] for number in range(3)]
    books.ok("POST", "/v1/finance/accounts", json={"code": "7", "name": "late", "type": "expense"})
    last = positions(books)[-1]
    with Follower(books, f"?after={posted[0]}") as follower:
        assert [each.id for each in follower.take(3)] == [*posted[1:], last]
    with Follower(books, "?after=0", **{"Last-Event-ID": str(posted[1])}) as follower:
        assert [each.id for each in follower.take(2)] == [posted[2], last]
    with Follower(books, f"?types={POSTED}") as follower:
        assert [each.id for each in follower.take(3)] == posted
        books.ok("POST", "/v1/finance/accounts", json={"code": "8", "name": "later", "type": "expense"})
        wanted = books.post("wanted").json()["position"]
        assert [(each.id, each.type) for each in follower.take(1)] == [(wanted, POSTED)]
    with Follower(books, f"?types=finance.account.opened,{POSTED}&after={posted[2]}") as follower:
        assert [each.type for each in follower.take(2)] == ["finance.account.opened"] * 2


def test_a_client_that_comes_back_misses_nothing_and_sees_nothing_twice(books: Books) -> None:
    """However often it leaves, in the middle of what is being written."""
    writer = threading.Thread(target=lambda: [books.post(str(number)) for number in range(150)])
    start = positions(books)[-1]
    writer.start()
    seen: list[int] = []
    headers: dict[str, str] = {}
    while len(seen) < 150:
        with Follower(books, f"?after={start}", **headers) as follower:
            seen += [each.id for each in follower.take(min(7, 150 - len(seen)))]
        headers = {"Last-Event-ID": str(seen[-1])}
    writer.join()
    assert seen == [position for position in positions(books) if position > start]


def test_nobody_sees_another_tenants_events(home: Home, api: Api, books: Books) -> None:
    """Not in catching up, not live; nor do another tenant's events wake anybody."""
    other = Books.new(home, api.url).opened()
    with Follower(books) as one, Follower(other) as two:
        assert {each.id for each in one.take(len(positions(books)))} == set(positions(books))
        assert {each.id for each in two.take(len(positions(other)))} == set(positions(other))
        theirs, ours = other.post("theirs").json()["position"], books.post("ours").json()["position"]
        (event,) = one.take(1)
        assert (event.id, event.data["tenant"]) == (ours, str(books.tenant))
        (event,) = two.take(1)
        assert (event.id, event.data["tenant"]) == (theirs, str(other.tenant))
    other.close()


def test_who_leaves_frees_the_place(api: Api, books: Books) -> None:
    """And waits for nothing any more."""
    before = streams_open(api)
    with Follower(books), Follower(books):
        until(lambda: streams_open(api) == before + 2, "both are counted")
    until(lambda: streams_open(api) == before, "both are gone")


def test_what_is_refused(books: Books) -> None:
    """Before the stream begins; HEAD tells what GET would."""
    url = f"{books.base_url}{PATH}"
    for accept in ("application/json", "*/*", "text/event-stream;q=0"):
        assert is_problem(books.send("GET", url, headers={"Accept": accept}), 406, "not_acceptable")
    for query in ("after=-1", "after=x", "types=", "types=finance.no", "limit=1", f"after={10**15}"):
        assert is_problem(books.send("GET", f"{url}?{query}", headers=STREAM), 400, "invalid_request"), query
    for last in ("x", "", "9" * 30, str(10**15)):
        asked = {**STREAM, "Last-Event-ID": last}
        assert is_problem(books.send("GET", url, headers=asked), 400, "invalid_request"), last
    accountant = books.by("bob", "accountant")
    assert is_problem(accountant.send("GET", url, headers=STREAM), 403, "permission_denied")
    head = books.send("HEAD", url, headers=STREAM)
    assert (head.status_code, head.headers["content-type"], head.content) == (200, "text/event-stream", b"")


def _stalled(books: Books) -> socket.socket:
    """A client that asks, and then reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = books.base_url.removeprefix("http://").partition(":")
    connection.connect((host, int(port)))
    head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    connection.sendall(f"{head}Authorization: Bearer {books.token}\r\n\r\n".encode())
    return connection


def _fill(books: Books, mebibytes: int) -> None:
    """Entries of about 100 KiB."""
    side = [{"account": "1122", "debit": "1.00"}, {"account": "6001", "credit": "1.00"}]
    lines = [{**each, "memo": "x" * 1000} for _ in range(50) for each in side]
    one = bulk_line("finance.post_journal_entry", entry(lines=lines))
    for _ in range(-(-mebibytes * MIB // (len(one) * 80))):
        assert {told["status"] for told in books.bulk(*[one] * 80)} == {201}


@pytest.mark.slow
def test_a_slow_client_never_holds_memory(home: Home) -> None:
    """Twenty clients that have asked for 50 MiB and take none of it cost a few pages each; the process
    answers others meanwhile, and ends at once when it is told to: nobody waits for who does not read.
    """
    with Api(home.path) as api:
        books = Books.new(home, api.url).opened()
        _fill(books, 50)
        with Follower(books) as follower:
            assert len(follower.take(len(positions(books)))) > 400
        before = api.running.resident_bytes()
        stalled = [_stalled(books) for _ in range(20)]
        until(lambda: streams_open(api) == 20, "all are open")
        with Follower(books, f"?after={positions(books)[-1]}") as reader:
            deadline = time.monotonic() + 3
            highest = before
            while time.monotonic() < deadline:
                highest = max(highest, api.running.resident_bytes())
                time.sleep(0.05)
            assert highest - before < 30 * MIB, f"{(highest - before) / MIB:.0f} MiB"
            position = books.post("meanwhile").json()["position"]
            assert [each.id for each in reader.take(1)] == [position]

            told_at = time.monotonic()
            api.running.signal(signal.SIGTERM)
            assert list(reader) == []  # an end in good order, not a broken connection
        assert api.running.wait(20) == 0
        assert time.monotonic() - told_at < 15
        assert "Exception" not in api.running.output
        for connection in stalled:
            connection.close()

        api.start()
        with Follower(books, **{"Last-Event-ID": str(position)}) as follower:
            after = books.post("after").json()["position"]
            assert [each.id for each in follower.take(1)] == [after]
        books.close()


def test_an_outage_of_the_database_does_not_end_it(home: Home, books: Books) -> None:
    """The stream goes on where it was as soon as there is something to tell."""
    with Follower(books, f"?after={positions(books)[-1]}") as follower:
        with postgres_stopped(home):
            time.sleep(1.5)
        until(lambda: books.post("after").is_success, "commands are taken again")
        (event,) = follower.take(1)
        assert event.data["data"]["reference"] == "after"
