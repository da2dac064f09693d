"""How long what a person has asked for waits for ClickHouse to come back."""

import asyncio
from typing import Final

_FAILURES_MAX: Final = 20
_PAUSE_S: Final = 0.5


class Patience:
    """For so many failures, half a second after each: some ten seconds."""

    def __init__(self) -> None:
        self._left = _FAILURES_MAX

    async def wait(self) -> bool:
        """Wait a moment, and try again; False: no more."""
        if self._left == 0:
            return False
        self._left -= 1
        await asyncio.sleep(_PAUSE_S)
        return True
