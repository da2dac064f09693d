"""On which day goods moved, which is told when they have.

DomainError
└── DayInFuture   goods have moved today or before
"""

from datetime import date
from typing import ClassVar

from domain.shared.errors import DomainError


class DayInFuture(DomainError):
    """Goods have moved today or before."""

    code: ClassVar[str] = "inventory.day_in_future"


def day_of(told: date | None, today: date) -> date:
    """The day that was told, today when none was.

    Raises:
        DayInFuture: it is still to come.
    """
    if told is not None and told > today:
        raise DayInFuture(f"{told} is still to come.", date=told.isoformat(), today=today.isoformat())
    return told or today
