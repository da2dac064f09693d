"""One HTTP request as the handlers see it: headers checked, body read within its limit."""

import re
from collections.abc import Callable
from typing import Final

from starlette.types import Receive, Scope
from uuid_utils import uuid4

from api.errors import BodyTooLarge, ClientGone, InvalidRequest, UnsupportedMediaType

CALL: Final = "erp.call"
"""Where the ASGI scope keeps it."""

IDEMPOTENCY_KEY: Final = r"^[\x21-\x7e]{1,255}$"
IF_MATCH: Final = r'^("[0-9]{1,18}"|\*)$'
# W3C Trace Context: version, trace id, parent id, flags; neither id all zeros.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_CORRELATION_ID: Final = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_IDEMPOTENCY_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")
_IF_MATCH: Final = re.compile(rb'"([0-9]{1,18})"')
_JSON: Final = frozenset({b"application/json"})
_NDJSON: Final = frozenset({b"application/x-ndjson", b"application/ndjson", b"application/jsonl"})
# Said twice, these would mean two things.
_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"idempotency-key",
        b"if-match",
        b"last-event-id",
        b"x-correlation-id",
    }
)


class Call:
    """A request, its correlation id, and what becomes of it."""

    __slots__ = ("_receive", "correlation_id", "headers", "land", "scope", "status", "template")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self._receive = receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-correlation-id")
        valid = given is not None and _CORRELATION_ID.fullmatch(given)
        self.correlation_id: str = given.decode() if given is not None and valid else str(uuid4())
        self.template = "unmatched"
        """The route's path template, once it is found."""
        self.status = 0
        """Status of the answer, once it is begun."""
        self.land: Callable[[], None] = _nothing
        """Called by an answer that may go on for days, when it begins: the request is in flight no longer."""

    @property
    def path_params(self) -> dict[str, str]:
        """What the path names, percent-decoded."""
        params: dict[str, str] = self.scope["path_params"]
        return params

    @property
    def path(self) -> str:
        """The path asked for, as it was sent."""
        raw: bytes = self.scope.get("raw_path") or b""
        return raw.decode("ascii", "replace")

    def header_list(self, name: bytes) -> str:
        """A header that may be said several times and then is one list (RFC 9110, 5.3); empty without it."""
        return ",".join(value.decode("latin-1") for found, value in self.scope["headers"] if found == name)

    def require_single_headers(self) -> None:
        """Refuse a request that says one of our headers twice."""
        if len(self.headers) == len(self.scope["headers"]):
            return
        names = [name for name, _ in self.scope["headers"] if name in _SINGLE]
        if len(names) != len(set(names)):
            twice = sorted({name.decode() for name in names if names.count(name) > 1})
            raise InvalidRequest(f"Given more than once: {', '.join(twice)}.")

    def require_no_query(self) -> None:
        """Refuse a query string where none has a meaning."""
        if self.scope["query_string"]:
            raise InvalidRequest("Commands take no query parameters.")

    def idempotency_key(self) -> str:
        """The client's key, or one made for this request alone."""
        given = self.headers.get(b"idempotency-key")
        if given is None:
            return str(uuid4())
        if not _IDEMPOTENCY_KEY.fullmatch(given):
            raise InvalidRequest("Idempotency-Key must be 1 to 255 visible ASCII characters.")
        return given.decode()

    def expected_version(self) -> int | None:
        """The version in `If-Match`, None when any will do."""
        given = self.headers.get(b"if-match")
        if given is None or given == b"*":
            return None
        matched = _IF_MATCH.fullmatch(given)
        if matched is None:
            raise InvalidRequest('If-Match must be one version in quotes, such as "3", or *.')
        return int(matched[1])

    def traceparent(self) -> str | None:
        """The W3C trace context; None when there is none that is well-formed."""
        given = self.headers.get(b"traceparent")
        return given.decode() if given is not None and _TRACEPARENT.fullmatch(given) else None

    async def json_body(self, bytes_max: int, *, optional: bool) -> bytes:
        """The body, which must call itself JSON. Where it is optional, an empty one is the empty object."""
        if not optional:
            # A body that will not be taken need not be waited for.
            self._require_type(_JSON)
            return await self._read(bytes_max)
        body = await self._read(bytes_max)
        if not body:
            return b"{}"
        self._require_type(_JSON)
        return body

    async def ndjson_body(self, bytes_max: int) -> bytes:
        """The body, which must call itself newline-delimited JSON."""
        self._require_type(_NDJSON)
        return await self._read(bytes_max)

    async def gone(self) -> None:
        """Return when the client has hung up. Only after the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _require_type(self, allowed: frozenset[bytes]) -> None:
        given = self.headers.get(b"content-type", b"")
        if given not in allowed:
            media_type, _, parameters = given.partition(b";")
            charset = parameters.strip().lower().replace(b'"', b"")
            if media_type.strip().lower() not in allowed or charset not in (b"", b"charset=utf-8"):
                wanted = " or ".join(sorted(name.decode() for name in allowed))
                raise UnsupportedMediaType(f"Content-Type must be {wanted}, in UTF-8.")
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType(
                "Encoded bodies are not taken.", headers=((b"accept-encoding", b"identity"),)
            )

    async def _read(self, bytes_max: int) -> bytes:
        announced = self.headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:18]) > bytes_max:
            raise BodyTooLarge(bytes_max)
        chunks: list[bytes] = []
        length = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            length += len(chunk)
            if length > bytes_max:
                raise BodyTooLarge(bytes_max)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks) if len(chunks) > 1 else chunk


def _nothing() -> None:
    pass
