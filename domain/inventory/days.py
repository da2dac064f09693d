"""On which day goods moved, which is told when they have.

DomainError
├── DayInFuture   goods have moved today or before
└── DayTooEarly   nothing comes back before it has left
"""

from datetime import date
from typing import ClassVar

from domain.shared.errors import DomainError


class DayInFuture(DomainError):
    """Goods have moved today or before."""

    code: ClassVar[str] = "inventory.day_in_future"


class DayTooEarly(DomainError):
    """Nothing comes back before it has left."""

    code: ClassVar[str] = "inventory.day_too_early"


def day_of(told: date | None, today: date) -> date:
    """The day that was told, today when none was.

    Raises:
        DayInFuture: it is still to come.
    """
    if told is not None and told > today:
        raise DayInFuture(f"{told} is still to come.", date=told.isoformat(), today=today.isoformat())
    return told or today


def require_left(left_on: date, day: date) -> None:
    """Make sure that what comes back on a day had left by then.

    Raises:
        DayTooEarly: it had not.
    """
    if day < left_on:
        detail = f"{day} is too early: it left on {left_on}."
        raise DayTooEarly(detail, date=day.isoformat(), first=left_on.isoformat())
