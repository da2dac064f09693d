"""Clients that keep posting, and what must be true of the books whatever happened to them meanwhile."""

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from uuid import uuid4

import orjson

from tests.e2e.system import ENTRIES, Books, entry
from tests.waiting import until

POSTED = "finance.journal_entry.posted"
REVERSED = "finance.journal_entry.reversed"


class Asked(NamedTuple):
    """A command under its key, which is also what the entry refers to."""

    key: str
    path: str
    body: bytes


class Told(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One keep-alive connection."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._connection = http.client.HTTPConnection(urlsplit(books.base_url).netloc, timeout=60)

    def ask(self, asked: Asked) -> Told | None:
        """The answer; None when the connection broke before it was whole."""
        headers = {
            **self._books.headers,
            "Content-Type": "application/json",
            "Idempotency-Key": asked.key,
            "X-Correlation-ID": asked.key,
        }
        try:
            self._connection.request("POST", asked.path, asked.body, headers)
            answer = self._connection.getresponse()
            told = Told(
                answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
            )
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        return told

    def close(self) -> None:
        self._connection.close()


@dataclass
class Load:
    """`clients` connections, each posting one entry after another and reversing every second of its own."""

    books: Books
    clients: int = 8
    per_s: float | None = None
    """Commands a second at most, of all clients together; None: as fast as they can."""
    acknowledged: dict[Asked, Told] = field(default_factory=dict)
    unknown: list[Asked] = field(default_factory=list)
    refused: list[Told] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._post_on, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more commands; those that are out are waited for."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client never got an answer"

    def until_acknowledged(self, more: int) -> None:
        """Wait for so many more good answers."""
        wanted = len(self.acknowledged) + more
        until(lambda: len(self.acknowledged) >= wanted, f"{more} more acknowledged")

    def _post_on(self) -> None:
        client = Client(self.books)
        to_reverse: list[str] = []
        due = time.monotonic()
        while not self._over.is_set():
            if self.per_s is not None:
                due = max(due + self.clients / self.per_s, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))
            asked = _next(to_reverse)
            told = client.ask(asked)
            if told is None:
                self.unknown.append(asked)
                time.sleep(0.02)
            elif told.status == http.client.CREATED:
                self.acknowledged[asked] = told
                if asked.path == ENTRIES and len(self.acknowledged) % 2:
                    to_reverse.append(orjson.loads(told.body)["id"])
            else:
                self.refused.append(told)
                # Not kept under its key: what becomes of it is as unknown as with no answer at all.
                self.unknown.append(asked)
                time.sleep(0.02)
        client.close()

    def require_exactly_once(self) -> None:
        """Every acknowledged command is in the books once and as it was told, every other one whole or not
        at all; numbers have no gap; and each, sent again under its key, is answered as before.
        """
        self._require_whole()
        self._require_replayed()
        # Now that the others were sent again, they are there too: once.
        self._require_whole()
        posted = Counter(event["metadata"]["correlation_id"] for event in self.books.events(POSTED))
        assert set(posted) == {asked.key for asked in (*self.acknowledged, *self.unknown)}

    def _require_whole(self) -> None:
        posted, reversed_ = self.books.events(POSTED), self.books.events(REVERSED)
        times = Counter(event["metadata"]["correlation_id"] for event in posted)
        assert not [key for key, count in times.items() if count > 1], "posted twice"
        at = {event["metadata"]["correlation_id"]: event for event in posted}
        for asked, told in self.acknowledged.items():
            answer = orjson.loads(told.body)
            assert asked.key in at, "acknowledged, and not in the books"
            assert (str(at[asked.key]["stream_id"]), at[asked.key]["version"]) == (
                answer["id"],
                answer["version"],
            )
        by_reversal = {str(event["stream_id"]): event["data"]["reverses"] for event in posted}
        pairs = {(event["data"]["reversed_by"], str(event["stream_id"])) for event in reversed_}
        assert pairs == {pair for pair in by_reversal.items() if pair[1] is not None}, "half a reversal"
        numbers = [event["number"] for event in posted]
        assert numbers == list(range(1, len(posted) + 1)), "numbers with a gap"

    def _require_replayed(self) -> None:
        client = Client(self.books)
        for asked, told in self.acknowledged.items():
            again = client.ask(asked)
            assert again is not None
            assert (again.status, again.body) == (told.status, told.body)
            assert again.headers["idempotency-replayed"] == "true"
            assert again.headers["etag"] == told.headers["etag"]
            assert again.headers["location"] == told.headers["location"]
        for asked in self.unknown:
            settled = client.ask(asked)
            assert settled is not None
            assert settled.status == http.client.CREATED, settled.body
        client.close()


def _next(to_reverse: list[str]) -> Asked:
    key = uuid4().hex
    if to_reverse:
        body: dict[str, Any] = {"posting_date": "2026-02-01", "reason": "taken back"}
        return Asked(key, f"{ENTRIES}/{to_reverse.pop()}/reverse", orjson.dumps(body))
    return Asked(key, ENTRIES, orjson.dumps(entry(key)))
