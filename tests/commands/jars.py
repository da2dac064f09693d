"""Jars of coins: the smallest business that the bus can run."""

from uuid import UUID

from commands.bus import Command, Work
from domain.shared.aggregate import Aggregate, event
from domain.shared.errors import DomainError


class Full(DomainError):
    """The jar holds one coin."""

    code = "jar.full"


class Jar(Aggregate):
    """Holds one coin."""

    TOPIC = "test.jar"

    full: bool = False

    class Filled(Aggregate.Event):
        """The coin went in."""

        TOPIC = "test.jar.filled"

    class Emptied(Aggregate.Event):
        """The coin was taken out."""

        TOPIC = "test.jar.emptied"

    def fill(self) -> None:
        """Put the coin in."""
        if self.full:
            detail = "The jar is full."
            raise Full(detail)
        self._filled()

    @event(Filled)
    def _filled(self) -> None:
        self.full = True

    def empty(self) -> None:
        """Take it out."""
        self._emptied()

    @event(Emptied)
    def _emptied(self) -> None:
        self.full = False


class Fill(Command):
    """Fill a jar, for a reason if there is one."""

    TOPIC = "test.fill"
    jar: UUID
    reason: str | None = None

    @property
    def permission(self) -> str:
        """Filling."""
        return "test.jars:fill"


class Empty(Fill):
    """Empty a jar."""

    TOPIC = "test.empty"


class KeepFull(Fill):
    """See to it that a jar is full."""

    TOPIC = "test.keep_full"


async def fill(command: Fill, work: Work) -> Jar:
    """See `Jar.fill`."""
    jar = await work.edit(Jar, command.jar)
    jar.fill()
    return jar


async def empty(command: Fill, work: Work) -> Jar:
    """See `Jar.empty`."""
    jar = await work.edit(Jar, command.jar)
    jar.empty()
    return jar


async def keep_full(command: KeepFull, work: Work) -> Jar:
    """Does nothing where nothing is to be done."""
    jar = await work.edit(Jar, command.jar)
    if not jar.full:
        jar.fill()
    return jar
