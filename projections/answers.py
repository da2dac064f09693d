"""What a projection's table answers, in few bytes: its rows counted and hashed, each once."""

from collections.abc import Sequence
from typing import NamedTuple

from projections.clickhouse import ClickHouse


class Answers(NamedTuple):
    """What was counted."""

    rows: int
    digest: int


async def columns(clickhouse: ClickHouse, table: str) -> dict[str, str]:
    """Name and type of each column of a table; none if there is no such table."""
    return dict(
        await clickhouse.rows(
            """SELECT name, type FROM system.columns
                WHERE database = currentDatabase() AND table = {table:String} ORDER BY position""",
            {"table": table},
        )
    )


def digest_of(names: Sequence[str]) -> str:
    """The aggregates that count and hash rows of these columns, in whatever order the rows come."""
    # A tuple, for the hash of something with a NULL would be NULL.
    return f"count(), sum(cityHash64(tuple({', '.join(names)})))"


async def answers(clickhouse: ClickHouse, table: str, names: Sequence[str], up_to: int) -> Answers:
    """What the table answers up to a position, as far as these columns say it."""
    ((rows, digest),) = await clickhouse.rows(
        f"SELECT {digest_of(names)} FROM {table} FINAL WHERE position <= {{up_to:UInt64}}",  # noqa: S608
        {"up_to": up_to},
    )
    return Answers(rows, digest)
