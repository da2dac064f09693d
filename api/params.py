"""Query parameters: each once, none unknown, every one checked."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.call import Call
from api.errors import InvalidRequest

POSITION_MAX: Final = 2**63 - 1
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
WAIT_S_MAX: Final = 30
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_CURSOR: Final = re.compile(r"(?P<kind>[a-z_.]+):(?P<after>[1-9][0-9]{0,17})")
_WAIT: Final = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?', re.IGNORECASE)
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]"
    r"([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"
    r"([Zz]|[-+ ][0-9]{2}:[0-9]{2})"
)
_YEARS: Final = (1900, 2999)


def query_params(call: Call, allowed: Collection[str]) -> Mapping[str, str]:
    """What the query string says.

    Raises:
        InvalidRequest: a parameter is given twice, or has no meaning here.
    """
    query: bytes = call.scope["query_string"]
    if not query:
        return {}
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    params = dict(pairs)
    if len(params) != len(pairs):
        raise InvalidRequest("A query parameter is given more than once.")
    for name in params:
        if name not in allowed:
            # A filter misspelt and passed over would be a wrong answer.
            raise invalid_param(name, "not a parameter of this query")
    return params


def number(params: Mapping[str, str], name: str, default: int, *, at_least: int, at_most: int) -> int:
    """The parameter as an integer, or the default.

    Raises:
        InvalidRequest: it is none, or out of range.
    """
    given = params.get(name)
    if given is None:
        return default
    if not _NUMBER.fullmatch(given) or not at_least <= int(given) <= at_most:
        raise invalid_param(name, f"not an integer from {at_least} to {at_most}")
    return int(given)


def min_position(params: Mapping[str, str]) -> int:
    """`min_position`, 0 where it is not given."""
    return number(params, "min_position", 0, at_least=0, at_most=POSITION_MAX)


def invalid_param(name: str, why: str) -> InvalidRequest:
    """The refusal of a parameter."""
    return InvalidRequest(f"Query parameter {name}: {why}.", [(f"/{name}", why)])


def limit(params: Mapping[str, str]) -> int:
    """`limit`, as every list takes it."""
    return number(params, "limit", LIMIT_DEFAULT, at_least=1, at_most=LIMIT_MAX)


def cursor(kind: str, after: int) -> str:
    """Where a list of this kind goes on, for the client to hand back."""
    return urlsafe_b64encode(f"{kind}:{after}".encode()).decode().rstrip("=")


def cursor_position(kind: str, given: str) -> int:
    """Where the client wants a list of this kind to go on.

    Raises:
        InvalidRequest: no list of this kind ever handed this out.
    """
    try:
        text = urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode("ascii")
    except ValueError:
        text = ""
    matched = _CURSOR.fullmatch(text)
    # Base64 has several spellings of one text; only ours is a cursor.
    if matched is None or matched["kind"] != kind or cursor(kind, int(matched["after"])) != given:
        raise invalid_param("cursor", "not a cursor of this list")
    return int(matched["after"])


def wait_s(call: Call) -> int | None:
    """How many seconds the client would rather wait than be refused (RFC 7240), `WAIT_S_MAX` at most.

    None: it says nothing of it, or nothing that can be understood, which is the same.
    """
    for preference in call.header_list(b"prefer").split(","):
        matched = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if matched is not None:
            return min(int(matched[1]), WAIT_S_MAX)
    return None


def _instant(value: Any) -> datetime:
    matched = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise PydanticCustomError("instant", "Input should be an instant of RFC 3339, with an offset")
    day, time, offset = matched.groups()
    try:
        # An unescaped plus in a query string is a blank.
        found = datetime.fromisoformat(f"{day}T{time}{offset.replace(' ', '+').upper()}")
    except ValueError:
        raise PydanticCustomError("instant", "Input should be an instant that exists") from None
    if not _YEARS[0] <= found.year <= _YEARS[1]:
        raise PydanticCustomError("instant", "Input should be of the years 1900 to 2999")
    return found.astimezone(UTC)


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339 with an offset; finer than microseconds is cut off."""
