"""JSON without second meanings (RFC 8259, I-JSON): what two readers could understand differently is refused.

Refused are duplicate keys, NaN and infinities, numbers beyond 64 bits or a double, lone surrogates, deep
nesting and whatever is not UTF-8. The quick path parses once and writes the canonical form, which by itself
refuses surrogates, long integers and depth; only when it fails does the slow path look for the place.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import orjson

from api.errors import InvalidRequest

_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1
_INTEGER_DIGITS_MAX: Final = 20
_FOUND_MAX: Final = 20


def parse(raw: bytes) -> tuple[Any, bytes]:
    """The value and its canonical form: sorted keys, no spaces, UTF-8.

    Raises:
        InvalidRequest: it is not JSON, or not unambiguous.
    """
    try:
        value = _QUICK.decode(raw.decode())
        return value, orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (ValueError, TypeError, RecursionError):
        raise _diagnosis(raw) from None


def parse_object(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """The same for what must be an object."""
    value, canonical = parse(raw)
    if not isinstance(value, dict):
        raise InvalidRequest("A JSON object is expected.", [("", "not an object")])
    return value, canonical


def pointer(*steps: str | int) -> str:
    """The steps as a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError
    return number


def _refuse(_: str) -> NoReturn:
    raise ValueError


_QUICK: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)


class _Wrong(str):
    """Stands where something wrong stood, and says what."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written."""

    __slots__ = ()


def _integer(digits: str) -> int | _Wrong:
    if len(digits) <= _INTEGER_DIGITS_MAX and _INTEGER_MIN <= int(digits) <= _INTEGER_MAX:
        return int(digits)
    return _Wrong("an integer beyond 64 bits")


def _float(digits: str) -> float | _Wrong:
    number = float(digits)
    return _Wrong("a number beyond a double") if math.isinf(number) else number


_SLOW: Final = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=lambda name: _Wrong(f"{name} is no JSON number"),
)


def _diagnosis(raw: bytes) -> InvalidRequest:
    try:
        value = _SLOW.decode(raw.decode())
    except UnicodeDecodeError as error:
        return InvalidRequest(f"Not UTF-8 at byte {error.start}.", [("", "not UTF-8")])
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return InvalidRequest(f"Malformed JSON: {error.msg} ({where}).", [("", "malformed JSON")])
    except RecursionError:
        return InvalidRequest("The JSON is nested too deeply.", [("", "nested too deeply")])
    found = []
    for wrong in _wrongs(value):
        found.append(wrong)
        if len(found) == _FOUND_MAX:
            break
    # Nothing found, yet the canonical form refused it: that leaves the depth.
    return InvalidRequest("The JSON is not unambiguous.", found or [("", "nested too deeply")])


def _wrongs(root: Any) -> Iterator[tuple[str, str]]:
    """Pointer and description of what is wrong in a value read by `_SLOW`."""
    ahead: list[tuple[str, Any]] = [("", root)]
    while ahead:
        at, value = ahead.pop()
        if isinstance(value, _Wrong):
            yield at, str(value)
        elif isinstance(value, str):
            if _has_lone_surrogate(value):
                yield at, "a lone surrogate"
        elif isinstance(value, _Pairs):
            yield from _wrong_keys(at, value)
            ahead.extend((at + pointer(key), member) for key, member in value if not _has_lone_surrogate(key))
        elif isinstance(value, list):
            ahead.extend((f"{at}/{index}", member) for index, member in enumerate(value))


def _wrong_keys(at: str, pairs: _Pairs) -> Iterator[tuple[str, str]]:
    seen = set()
    for key, _ in pairs:
        if _has_lone_surrogate(key):
            # Such a key cannot be written down, so the object that holds it is named.
            yield at, "a key with a lone surrogate"
        elif key in seen:
            yield at + pointer(key), "a duplicate key"
        seen.add(key)


def _has_lone_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)
