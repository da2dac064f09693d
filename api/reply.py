"""What handlers answer: bytes made once, sent as they are."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import orjson
from starlette.types import Send

Header = tuple[bytes, bytes]
Headers = Iterable[Header]

JSON: Final[Header] = (b"content-type", b"application/json")
NDJSON: Final[Header] = (b"content-type", b"application/x-ndjson")
# Books are nobody's cache entry.
NO_STORE: Final[Header] = (b"cache-control", b"no-store")


class Answering(Protocol):
    """Something that can be sent as the answer to one request."""

    async def send(self, send: Send, *, head: bool) -> None:
        """Send it; without its body if `head`."""


class Reply:
    """A whole answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: list[Header]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    async def send(self, send: Send, *, head: bool) -> None:
        """Send it; a HEAD request gets the headers of the GET, Content-Length included (RFC 9110, 9.3.2)."""
        # RFC 9110, 8.6: no Content-Length with 204.
        length = [(b"content-length", b"%d" % len(self.body))] if self.status != 204 else []  # noqa: PLR2004
        await send(
            {"type": "http.response.start", "status": self.status, "headers": [*self.headers, *length]}
        )
        await send({"type": "http.response.body", "body": b"" if head else self.body})


class Stream:
    """An answer that is made while it is sent; a slow reader slows its making."""

    __slots__ = ("_chunks", "headers")

    def __init__(self, chunks: AsyncIterator[bytes], headers: list[Header]) -> None:
        self._chunks = chunks
        self.headers = headers

    async def send(self, send: Send, *, head: bool) -> None:  # noqa: ARG002 - streams answer POST only
        """Send chunk by chunk."""
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        async with aclosing(self._chunks) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def json_reply(status: int, value: Any, *headers: Header) -> Reply:
    """`value` as JSON."""
    return Reply(status, orjson.dumps(value, option=orjson.OPT_UTC_Z), [JSON, *headers])


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always of the same length, so that it sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
