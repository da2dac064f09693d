"""Clients that hang up, stall, or read slowly: a command is carried out whole or not at all, and the server
stays well.
"""

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from tests.e2e.load import POSTED
from tests.e2e.system import ENTRIES, Api, Books, Home, bulk_line, entry
from tests.waiting import until

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024


def request(books: Books, path: str, body: bytes, length: int | None = None, key: str = "") -> bytes:
    kind = "application/x-ndjson" if path == "/v1/commands" else "application/json"
    head = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {books.token}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        *([f"Idempotency-Key: {key}"] if key else []),
    ]
    return "".join(f"{line}\r\n" for line in [*head, ""]).encode() + body


def hang_up(connection: socket.socket) -> None:
    """As a client that crashes: reset, without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_hanging_up_right_after_sending(api: Api, books: Books) -> None:
    """Whole or not at all, and the key tells which; numbers have no gap."""
    keys = [f"gone-{number}" for number in range(60)]
    for number, key in enumerate(keys):
        with api.socket() as connection:
            connection.sendall(request(books, ENTRIES, orjson.dumps(entry(key)), key=key))
            time.sleep(0.0005 * 2 ** (number % 8))  # up to a sixteenth of a second
            hang_up(connection)
    settled = [books.post(key, key=key) for key in keys]
    assert {answer.status_code for answer in settled} == {201}
    posted = books.events(POSTED)
    assert sorted(event["data"]["reference"] for event in posted) == sorted(keys)
    assert [event["number"] for event in posted] == list(range(1, 61))
    assert any("idempotency-replayed" in answer.headers for answer in settled), "none was ever carried out"


def test_hanging_up_while_a_command_is_stored(home: Home, api: Api, books: Books) -> None:
    """A command that was handed over is carried out to its end without its client."""
    with home.appends_held(), api.socket() as connection:
        connection.sendall(request(books, ENTRIES, orjson.dumps(entry("left")), key="left"))
        until(home.appends_waiting, "the command waits at the database")
        hang_up(connection)
        time.sleep(0.1)
    until(lambda: books.events(POSTED), "it is stored all the same")
    again = books.post("left", key="left")
    assert again.headers["idempotency-replayed"] == "true"


def test_hanging_up_in_mid_body(api: Api, books: Books) -> None:
    """Nothing is stored of a request that never was whole."""
    before = books.last
    whole = orjson.dumps(entry("half"))
    lines = bulk_line("finance.post_journal_entry", entry("half")) * 10
    for path, body in ((ENTRIES, whole), ("/v1/commands", lines)):
        for sent in (0, 1, len(body) // 2, len(body) - 1):
            with api.socket() as connection:
                connection.sendall(request(books, path, body[:sent], length=len(body)))
                time.sleep(0.005)
                hang_up(connection)
    assert books.post("after").status_code == 201
    assert books.last == before + 1


def test_hanging_up_in_mid_bulk(api: Api, books: Books) -> None:
    """Each line is whole or absent, what is absent can be sent again, and the server does not go on for ever
    with lines that nobody asks about any more.
    """
    keys = [f"bulk-{number}" for number in range(3000)]
    lines = [bulk_line("finance.post_journal_entry", entry(key), idempotency_key=key) for key in keys]
    with api.socket() as connection:
        connection.sendall(request(books, "/v1/commands", b"".join(lines)))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        hang_up(connection)
    until(lambda: not _in_flight(books), "the server has let go")
    done = len(books.events(POSTED))
    assert 0 < done < 3000
    told = books.bulk(*lines)
    assert {each["status"] for each in told} == {201}
    assert sum("replayed" in each for each in told) == done
    posted = books.events(POSTED)
    assert sorted(event["data"]["reference"] for event in posted) == sorted(keys)
    assert [event["number"] for event in posted] == list(range(1, 3001))


def test_a_slow_reader_of_a_big_bulk(api: Api, books: Books) -> None:
    """Who does not read is waited for, at the cost of a window and not of the whole answer; others are
    served meanwhile; and when it reads on, every line is answered.
    """
    count = 30_000
    # Refusals are the longest answers, and cost nothing to store.
    bad = bulk_line("finance.post_journal_entry", entry(currency="XYZ", posting_date="x"))
    body = bad * count
    assert len(body) < 10 * MIB
    books.bulk(bad)
    before = api.running.resident_bytes()
    with api.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(request(books, "/v1/commands", body))
        time.sleep(1.0)
        peak = api.running.resident_bytes() - before
        began = time.monotonic()
        assert books.post("meanwhile").status_code == 201
        assert time.monotonic() - began < 10
        assert _in_flight(books) == 1, "it has not been waited for"
        # The body itself, read in pieces and joined, and a window of answers.
        assert peak < 40 * MIB, f"{peak / MIB:.0f} MiB"
        connection.settimeout(30)
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            piece = connection.recv(MIB)
            assert piece, "closed before the end"
            received += piece
    assert received.count(b'"code":"invalid_request"') == count
    assert f'"line":{count},'.encode() in received


def test_many_clients_that_say_nothing(api: Api, books: Books) -> None:
    """Open connections without a request, or with half of one, keep nobody else from being served."""
    silent = [api.socket() for _ in range(200)]
    try:
        for number, connection in enumerate(silent):
            if number % 2:
                connection.sendall(request(books, ENTRIES, b"{", length=100))
        with ThreadPoolExecutor(8) as clients:
            told = list(clients.map(lambda number: books.post(f"{number}").status_code, range(40)))
        assert told == [201] * 40
    finally:
        for connection in silent:
            connection.close()
    until(lambda: not _in_flight(books), "the server has let go")


def _in_flight(books: Books) -> int:
    """Requests being worked on, but for the one that asks."""
    name = "erp_http_requests_in_flight "
    (line,) = [line for line in books.send("GET", "/metrics").text.splitlines() if line.startswith(name)]
    return int(float(line.removeprefix(name))) - 1
