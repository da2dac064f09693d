"""What a report needs of whoever asks."""

from typing import Any, Protocol
from uuid import UUID

from projections.declaration import Projection


class View(Protocol):
    """The tables of one tenant, as they stood at one position.

    SQL names projections as if they were tables; of each it sees the tenant's rows up to the position, each
    once.
    """

    @property
    def tenant(self) -> UUID:
        """Whose rows they are."""

    @property
    def position(self) -> int:
        """The position that the answer stands at."""

    async def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """What the SQL gives, by names of columns. Parameters are bound by the server: `{as_of:Date32}`."""

    def closed(self, projection: Projection) -> int:
        """Of a projection that goes by whole buckets of positions: the last position of the last bucket that
        it has, at or before the view's position; 0 when there is none.
        """
