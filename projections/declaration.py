"""How a projection is declared: one .sql file with a table and a SELECT, and what the SELECT reads.

    CREATE TABLE finance_accounts (tenant UUID, code String, …, position UInt64)
    ENGINE = ReplacingMergeTree ORDER BY (tenant, code);

    SELECT tenant, JSONExtractString(data, 'code') AS code, …, position FROM events;

`events` are those of a range of positions, each once, in the schema versions that are declared. The table is
keyed so that a repeat of a range changes nothing, and has the columns `tenant` and `position`. The SELECT
throws on what it cannot read: a silent default would be a wrong report.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

TABLE_SETTINGS: Final = (
    "min_parts_to_merge_at_once = 8, merge_selector_base = 7, "
    "merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, auto_statistics_types = ''"
)
"""Of every table here. Many small parts come in a row, and are to be merged eight by eight. Left to itself
ClickHouse merges them two by two; and below some MiB it takes all parts for equally large, picks eight of
which one is not small, and leaves the small ones out again: half of its time went into copying that one over
and over. And nothing reads statistics.
"""

_TABLE: Final = re.compile(r"CREATE TABLE (?P<name>\w+)\s*\(")


_SETTINGS: Final = re.compile(r"\bSETTINGS\b")


class BadDeclaration(Exception):
    """The file is not what a projection is declared by."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What the rows of a table follow from; kept with each generation, so that it goes on by what it began
    with.
    """

    select: str
    reads: Mapping[str, int]
    """The event types that the SELECT reads, and the schema version of each that it knows."""
    step: int = 1
    """It advances by whole multiples of this many positions."""

    def to_json(self) -> str:
        """As Postgres keeps it."""
        return json.dumps(
            {"select": self.select, "reads": dict(self.reads), "step": self.step}, sort_keys=True
        )

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """As it was kept."""
        return cls(str(kept["select"]), dict(kept["reads"]), int(kept["step"]))


@dataclass(frozen=True, slots=True)
class Projection:
    """A table of the read side, by name. A change of its file that changes answers is a new `version`."""

    name: str
    version: int
    create: str
    definition: Definition

    @classmethod
    def of(cls, name: str, file: Path, *, version: int, reads: Mapping[str, int], step: int = 1) -> Self:
        """The projection that the file declares.

        Raises:
            BadDeclaration: it is not one CREATE TABLE of that name and one SELECT.
        """
        statements = [
            each.strip() for each in re.split(r";[ \t]*(?:\n|$)", _without_comments(file)) if each.strip()
        ]
        if len(statements) != len(("create", "select")):
            raise BadDeclaration(f"{file.name}: one CREATE TABLE and one SELECT are wanted")
        create, select = statements
        named = _TABLE.match(create)
        if named is None or named["name"] != name:
            raise BadDeclaration(f"{file.name}: it starts with CREATE TABLE {name} (")
        if not select.startswith("SELECT"):
            raise BadDeclaration(f"{file.name}: after the table comes a SELECT that begins with SELECT")
        return cls(name, version, create, Definition(select, reads, step))

    def create_table(self, table: str) -> str:
        """The statement that makes the table of a generation."""
        create = _TABLE.sub(f"CREATE TABLE IF NOT EXISTS {table} (", self.create, count=1)
        return f"{create}{',' if _SETTINGS.search(create) else ' SETTINGS'} {TABLE_SETTINGS}"


@dataclass(frozen=True, slots=True)
class ProjectionQuery:
    """A question that tables of the read side answer.

    Attributes:
        reads: the projections whose tables its SQL names.
        ask: takes a view of them and the query's own parameters, and gives the answer.
    """

    name: str
    reads: Sequence[Projection]
    ask: Callable[..., Awaitable[Any]]


def table_of(projection: str, generation: int) -> str:
    """The name of a generation's table in ClickHouse."""
    return f"{projection}_g{generation}"


def _without_comments(file: Path) -> str:
    lines = file.read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))
