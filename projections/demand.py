"""What is waited for: a question that needs a table further than it is says so to the projector. That fetches
the events from the store, instead of waiting for Kafka, and fills the table at once, instead of now and then.

By NOTIFY: no row to write, nothing to clear away, and who misses it is served a moment later all the same.
(The append path never says NOTIFY: its lock at commit would hold up every append.)
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg

_CHANNEL: Final = "erp_wanted"
SAY: Final = f"SELECT pg_notify('{_CHANNEL}', %s)"
# Nobody waits for so many positions at once; who asks for one that will not come for years, fills no memory.
_WANTED_MAX: Final = 1000


def said(projections: Sequence[str], position: int) -> str:
    """That these are wanted as far as a position."""
    return " ".join([str(position), *projections])


class Demand:
    """What is waited for, as far as it was heard of."""

    def __init__(self) -> None:
        self._wanted: defaultdict[str, set[int]] = defaultdict(set)

    def is_for(self, projection: str, after: int, up_to: int) -> bool:
        """Whether somebody waits for a position there: after one, up to the other."""
        return any(after < position <= up_to for position in self._wanted[projection])

    def met(self, projection: str, up_to: int) -> None:
        """The projection is there."""
        self._wanted[projection] = {each for each in self._wanted[projection] if each > up_to}

    async def heard_on(self, connection: "psycopg.AsyncConnection[Any]") -> AsyncIterator[int]:
        """Listen, for ever: each position that was wanted.

        Args:
            connection: in autocommit, for nothing else.
        """
        await connection.execute(f"LISTEN {_CHANNEL}")
        async for each in connection.notifies():
            with suppress(ValueError):  # whoever may log in may say anything
                yield self._hear(each.payload)

    def _hear(self, payload: str) -> int:
        first, *projections = payload.split()
        position = int(first)
        for name in projections:
            wanted = self._wanted[name]
            wanted.add(position)
            if len(wanted) > _WANTED_MAX:
                wanted.remove(max(wanted))
        return position
