"""Which media type to answer with (RFC 9110, 12.5.1)."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from api.call import Call
from api.errors import NotAcceptable

_RANGE: Final = re.compile(r"([!#$%&'*+.^_`|~\w-]+)/([!#$%&'*+.^_`|~\w-]+)")
_WEIGHT: Final = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def media_type(call: Call, offered: Sequence[str]) -> str:
    """The one of `offered` that the client likes best, the first of them where it does not care.

    Raises:
        NotAcceptable: it wants none of them.
    """
    header = call.header_list(b"accept")
    if not header:
        return offered[0]
    ranges = list(_ranges(header))
    weighed = [(_weight(each, ranges), -index, each) for index, each in enumerate(offered)]
    weight, _, best = max(weighed)
    if weight == 0:
        raise NotAcceptable(f"This can be answered as {' or '.join(offered)}.")
    return best


def require_named(call: Call, media_type: str) -> None:
    """Make sure that the client asks for `media_type` by its name.

    Raises:
        NotAcceptable: it does not, or only takes anything whatever.
    """
    named = [each for each in _ranges(call.header_list(b"accept")) if each[1] != "*"]
    if _weight(media_type, named) == 0:
        raise NotAcceptable(f"This is answered as {media_type} only; ask for it: Accept: {media_type}")


def _ranges(header: str) -> Iterator[tuple[str, str, float]]:
    """Type, subtype and weight of each range. Parameters of types, and malformed ranges, are passed over."""
    for element in header.split(","):
        named, *parameters = (part.strip() for part in element.split(";"))
        matched = _RANGE.fullmatch(named.lower())
        if matched is not None:
            weights = [found[1] for each in parameters if (found := _WEIGHT.fullmatch(each))]
            yield matched[1], matched[2], float(weights[0]) if weights else 1.0


def _weight(media_type: str, ranges: Sequence[tuple[str, str, float]]) -> float:
    """That of the most specific range which has it."""
    kind, _, subtype = media_type.partition("/")
    for wanted in ((kind, subtype), (kind, "*"), ("*", "*")):
        weights = [weight for *found, weight in ranges if tuple(found) == wanted]
        if weights:
            return max(weights)
    return 0.0
