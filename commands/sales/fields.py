"""Kinds of fields that only sales has."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from commands.fields import ShortText
from domain.sales.pricing import LINES_MAX


def _not_empty(lines: tuple[Any, ...]) -> tuple[Any, ...]:
    if not lines:
        raise PydanticCustomError("not_empty", "Input should have at least 1 item")
    return lines


# Not `min_length`: it counts the sound items, and would call a list of one bad line empty too.
NOT_EMPTY: Final = AfterValidator(_not_empty)
LINES_COUNT: Final[FieldInfo] = Field(max_length=LINES_MAX, json_schema_extra={"minItems": 1})

NamedText = Annotated[ShortText, StringConstraints(min_length=1)]
"""A short text that says something."""

Token = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]
"""What the payment gateway calls a card."""

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$", max_length=100)]
"""A reason, for programs: `customer`, or the code of a refusal."""
