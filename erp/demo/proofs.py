"""In the end everything is held against everything else."""

from collections.abc import Sequence
from typing import Final

from erp.demo.story import Chapter, Story


def _verify(tour: Story) -> None:
    """The log is checked: every hash, every position, version and number, of all companies in it; and added
    up from it, stock and books agree.
    """
    tour.command("verify")


def _verify_projections(tour: Story) -> None:
    """And ClickHouse is held against it, row by row: log, copy and projections agree."""
    tour.command("projections", "verify")


CHAPTERS: Final[Sequence[Chapter]] = (
    _verify,
    _verify_projections,
)
