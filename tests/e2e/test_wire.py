"""Below the contract: connections that are pipelined, broken, endless, or no HTTP at all."""

import socket
from collections.abc import Callable

import httptools
import orjson
import pytest

from tests.e2e.system import ENTRIES, Api, Books, entry

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024


class Answers:
    """What came back on one connection: (status, headers, body) each, and whether it was closed."""

    def __init__(self) -> None:
        self.all: list[tuple[int, dict[str, str], bytes]] = []
        self.closed = False
        self._headers: dict[str, str] = {}
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self.all.append((self._parser.get_status_code(), self._headers, self._body))
        self._headers, self._body = {}, b""

    def read(self, connection: socket.socket, count: int) -> "Answers":
        """Read so many answers, and on to the end if there is one at once."""
        connection.settimeout(20)
        try:
            while len(self.all) < count and not self.closed:
                self._feed(connection)
            connection.settimeout(0.3)
            while not self.closed:
                self._feed(connection)
        except ConnectionError:
            self.closed = True
        except TimeoutError:
            pass
        return self

    def _feed(self, connection: socket.socket) -> None:
        data = connection.recv(65_536)
        if data:
            self._parser.feed_data(data)
        else:
            self.closed = True


@pytest.fixture
def post(books: Books) -> Callable[..., bytes]:
    """Makes the bytes of a request that posts an entry."""

    def post(*headers: str, body: bytes | None = None, version: str = "1.1") -> bytes:
        body = orjson.dumps(entry("wire")) if body is None else body
        head = [
            f"POST {ENTRIES} HTTP/{version}",
            "Host: localhost",
            f"Authorization: Bearer {books.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *headers,
        ]
        return "".join(f"{line}\r\n" for line in [*head, ""]).encode() + body

    return post


LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def talk(api: Api, sent: bytes, count: int = 1) -> Answers:
    with api.socket() as connection:
        connection.sendall(sent)
        return Answers().read(connection, count)


def test_pipelined_requests(api: Api, books: Books, post: Callable[..., bytes]) -> None:
    """Requests sent without waiting are carried out one after another and answered in their order."""
    sent = post() + post(body=b"{") + post() + LIVE + post() + post("Connection: close")
    told = talk(api, sent, 6)
    assert [status for status, _, _ in told.all] == [201, 400, 201, 200, 201, 201]
    assert told.closed
    positions = [orjson.loads(body)["position"] for status, _, body in told.all if status == 201]
    assert positions == [event["position"] for event in books.events("finance.journal_entry.posted")]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS \r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        # Two ways to tell where a body ends are how requests are smuggled past a proxy.
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http(api: Api, books: Books, garbage: bytes) -> None:
    """400 as a problem, and the end of the connection."""
    told = talk(api, garbage)
    ((status, headers, body),) = told.all
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert orjson.loads(body)["code"] == "invalid_request"
    assert told.closed


def test_garbage_after_a_command(api: Api, books: Books, post: Callable[..., bytes]) -> None:
    """A command is answered by its own answer, also if what follows it on the connection is nonsense: told
    400 for what was stored, a client would send it again.
    """
    told = talk(api, post() + b"\x00\x01nonsense\r\n\r\n")
    assert [status for status, _, _ in told.all] == [201]
    assert told.closed
    assert len(books.events("finance.journal_entry.posted")) == 1


def test_a_broken_chunk(api: Api, books: Books, post: Callable[..., bytes]) -> None:
    """A body that stops making sense is refused, and nothing of it is stored."""
    chunked = post("Transfer-Encoding: chunked", body=b"").replace(b"Content-Length: 0\r\n", b"")
    body = orjson.dumps(entry())
    told = talk(api, chunked + b"%x\r\n%s\r\n" % (len(body), body) + b"not a length\r\n")
    assert [status for status, _, _ in told.all] == [400]
    assert told.closed
    assert books.events("finance.journal_entry.posted") == []


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * MIB,
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * MIB,
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"a" * MIB,
    ],
    ids=["path", "value", "many", "name"],
)
def test_a_head_without_end(api: Api, books: Books, endless: bytes) -> None:
    """Is refused early, without a token being asked for, and does not fill the memory."""
    before = api.running.resident_bytes()
    sent = 0
    with api.socket() as connection:
        try:
            for _ in range(64):
                connection.sendall(endless)
                sent += len(endless)
        except OSError:
            pass
    assert sent < 16 * MIB, "it goes on listening"
    assert api.running.resident_bytes() - before < 30 * MIB
    assert api.is_ready()


def test_a_large_head_is_told_so(api: Api, books: Books) -> None:
    """431 as a problem; up to 60 kB a head is taken."""
    with api.socket() as connection:
        connection.sendall(LIVE[:-2] + b"X-A: " + b"a" * 400_000)
        told = Answers().read(connection, 1)
    assert [(status, headers["content-type"]) for status, headers, _ in told.all] == [
        (431, "application/problem+json")
    ]
    fits = talk(api, LIVE[:-2] + b"X-A: " + b"a" * 60_000 + b"\r\n\r\n")
    assert [status for status, _, _ in fits.all] == [200]


def test_a_header_said_twice(api: Api, books: Books, post: Callable[..., bytes]) -> None:
    """One of ours that is given twice could mean two things, and is refused."""
    told = talk(api, post(f"Authorization: Bearer {books.token}"))
    assert [status for status, _, _ in told.all] == [400]
    assert books.events("finance.journal_entry.posted") == []


def test_old_and_cautious_clients(api: Api, books: Books, post: Callable[..., bytes]) -> None:
    """HTTP/1.0 is answered and closed; `Expect: 100-continue` is answered before the body."""
    old = talk(api, post(version="1.0"))
    assert [status for status, _, _ in old.all] == [201]
    assert old.closed
    request = post("Expect: 100-continue")
    head, _, body = request.partition(b"\r\n\r\n")
    with api.socket() as connection:
        connection.sendall(head + b"\r\n\r\n")
        connection.settimeout(20)
        assert connection.recv(25).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert [status for status, _, _ in Answers().read(connection, 1).all] == [201]


def test_a_body_that_comes_byte_by_byte(api: Api, books: Books, post: Callable[..., bytes]) -> None:
    """Where the network cuts a request makes no difference."""
    request = post()
    with api.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), 7):
            connection.sendall(request[start : start + 7])
        assert [status for status, _, _ in Answers().read(connection, 1).all] == [201]
