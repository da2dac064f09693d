"""How a context declares its reports: questions to the read side that have a path."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.params import Instant
from api.ports import Store
from api.reply import instant
from projections.declaration import ProjectionQuery


class ReportParams(BaseModel):
    """Query and path parameters of a report, and what its question is asked with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    told_names: ClassVar[tuple[str, ...]] = ()
    """What of the question the answer repeats."""

    async def completed(self, store: Store, tenant: UUID) -> Self:  # noqa: ARG002 - for those that need it
        """These, with what follows from the tenant's state where the client left it out."""
        return self

    def arguments(self) -> dict[str, Any]:
        """What the question takes, besides where it is to stand."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "known_at"}

    def told(self) -> dict[str, Any]:
        """What the answer repeats of the question, under the names that the client gave it."""
        given = self.model_dump(by_alias=True)
        told = {name: given[name] for name in self.told_names}
        return {name: instant(each) if isinstance(each, datetime) else each for name, each in told.items()}


class KnownAtParams(ReportParams):
    """Of a report that can be asked for as it would have read at an instant of the past."""

    told_names: ClassVar[tuple[str, ...]] = ("known_at",)

    known_at: Instant | None = Field(
        default=None, description="As it was known at this instant: with an offset, in a URL `%2B` for `+`."
    )


@dataclass(frozen=True)
class ReportRoute:
    """GET of a report.

    Attributes:
        params: its query and path parameters.
        answer: the dataclass that the question is answered with; its fields are members of the JSON.
        row: the dataclass of a row of the CSV; its fields are the columns.
        rows: the rows, out of an answer.
        file_name: what the CSV is called when it is saved, without `.csv`.
    """

    path: str
    permission: str
    query: ProjectionQuery
    params: type[ReportParams]
    answer: type
    row: type
    rows: Callable[[Any], Sequence[Any]]
    file_name: str


@dataclass(frozen=True)
class SearchRoute:
    """GET of a list out of the read side, in pages.

    Attributes:
        item: the dataclass of what is in it; its fields are the columns of the CSV.
        kind: what its cursors are good for.
        file_name: what the CSV is called when it is saved, without `.csv`.
    """

    path: str
    permission: str
    query: ProjectionQuery
    params: type[ReportParams]
    item: type
    kind: str
    file_name: str
