"""Query parameters: each once, none unknown, every one checked."""

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import parse_qsl

from api.call import Call
from api.errors import InvalidRequest

POSITION_MAX: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


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
