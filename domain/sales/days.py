"""On which day something happened, for what is told later than it happened.

DomainError
├── DayInFuture   what has happened did so today or before
└── DayTooEarly   nothing is shipped before it is ordered, and nothing comes back before it has left
"""

from datetime import date
from typing import ClassVar

from domain.shared.errors import DomainError


class DayInFuture(DomainError):
    """What has happened did so today or before."""

    code: ClassVar[str] = "sales.day_in_future"


class DayTooEarly(DomainError):
    """Nothing is shipped before it is ordered, and nothing comes back before it has left."""

    code: ClassVar[str] = "sales.day_too_early"


def day_of(told: date | None, today: date) -> date:
    """The day that was told, today when none was.

    Raises:
        DayInFuture: it is still to come.
    """
    if told is not None and told > today:
        raise DayInFuture(f"{told} is still to come.", date=told.isoformat(), today=today.isoformat())
    return told or today


def require_not_before(day: date, first: date, why: str) -> None:
    """Make sure that something did not happen before it could.

    Raises:
        DayTooEarly: it would have.
    """
    if day < first:
        raise DayTooEarly(
            f"{day} is too early: {why} {first}.", date=day.isoformat(), first=first.isoformat()
        )
