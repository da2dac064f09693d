"""`erp demo`: what the system promises, chapter by chapter. See `erp.tour` for how it is asked and told."""

from typing import Final

from erp.demo import agreement, books, deliveries, proofs, reports, shop
from erp.demo.story import PEOPLE, Chapter, Story

__all__ = ["CHAPTERS", "PEOPLE", "Story"]

CHAPTERS: Final[tuple[Chapter, ...]] = tuple(
    chapter for part in (books, reports, shop, deliveries, agreement, proofs) for chapter in part.CHAPTERS
)
