"""Journal entries: what was booked, when, on which accounts. Once posted, an entry never changes.

    draft → posted → reversed        a draft may be discarded; an entry may also be posted at once

That it is a double entry is checked when it is drafted, since a draft cannot be edited. Accounts, period and
approval are checked when it is posted, because they change in between.

DomainError
├── EntryNotFound, EntryDiscarded    there is no such entry (any more)
├── EntryAlreadyPosted, EntryNotPosted, EntryAlreadyReversed    the step starts from another state
├── ReversalBeforeOriginal           a reversal takes back what is there already
└── and those of `double_entry` and `books`
"""

from dataclasses import replace
from datetime import date
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from domain.finance.books import Books
from domain.finance.double_entry import EntryContent, JournalLine
from domain.shared.aggregate import Aggregate, NumberedEvent, event
from domain.shared.errors import DomainError


class EntryStatus(StrEnum):
    """Where an entry stands. `blank`: nothing has happened yet."""

    BLANK = "blank"
    DRAFT = "draft"
    POSTED = "posted"
    REVERSED = "reversed"
    DISCARDED = "discarded"


class EntryNotFound(DomainError):
    """There is no journal entry of this id."""

    code: ClassVar[str] = "finance.entry_not_found"


class EntryDiscarded(DomainError):
    """The draft was thrown away."""

    code: ClassVar[str] = "finance.entry_discarded"


class EntryAlreadyPosted(DomainError):
    """The entry is a draft no more."""

    code: ClassVar[str] = "finance.entry_already_posted"


class EntryNotPosted(DomainError):
    """The entry is still a draft."""

    code: ClassVar[str] = "finance.entry_not_posted"


class EntryAlreadyReversed(DomainError):
    """An entry is reversed once at most."""

    code: ClassVar[str] = "finance.entry_already_reversed"


class ReversalBeforeOriginal(DomainError):
    """A reversal is not dated before what it takes back."""

    code: ClassVar[str] = "finance.reversal_before_original"


class JournalEntry(Aggregate):
    """An entry of a journal."""

    TOPIC = "finance.journal_entry"

    status: EntryStatus = EntryStatus.BLANK
    content: EntryContent | None = None
    drafted_by: str = ""
    series: str | None = None
    """Journal and fiscal year, which it is numbered in; None until it is posted."""
    number: int | None = None
    """Gapless within the series, from 1; None until the posting is stored."""
    reverses: UUID | None = None
    reversed_by: UUID | None = None

    class Drafted(Aggregate.Event):
        """The entry was prepared; it is not in the books yet."""

        TOPIC = "finance.journal_entry.drafted"
        journal: str
        posting_date: date
        currency: str
        memo: str
        reference: str
        lines: tuple[JournalLine, ...]
        drafted_by: str

    class Posted(NumberedEvent):
        """The entry is in the books. Complete in itself, whether there was a draft or not."""

        TOPIC = "finance.journal_entry.posted"
        journal: str
        posting_date: date
        currency: str
        memo: str
        reference: str
        lines: tuple[JournalLine, ...]
        reverses: UUID | None
        drafted_by: str

    class Reversed(Aggregate.Event):
        """Another entry took this one back."""

        TOPIC = "finance.journal_entry.reversed"
        reversed_by: UUID
        reason: str

    class Discarded(Aggregate.Event):
        """The draft was thrown away."""

        TOPIC = "finance.journal_entry.discarded"

    @property
    def document_no(self) -> str | None:
        """The number for people, such as `general/2026/000123`; None until the posting is stored."""
        return None if self.number is None else f"{self.series}/{self.number:06}"

    def draft(self, content: EntryContent, *, by: str) -> None:
        """Prepare an entry without posting it.

        Raises:
            DomainError: it is no balanced double entry.
        """
        self._drafted(**_fields(content.as_double_entry()), drafted_by=by)

    def post(self, content: EntryContent, books: Books, *, by: str) -> None:
        """Prepare and post an entry in one step.

        Raises:
            DomainError: it is no balanced double entry, or the books do not take it.
        """
        self._enter(content.as_double_entry(), books, drafted_by=by, prepared_by=by, posted_by=by)

    def post_draft(self, books: Books, *, by: str) -> None:
        """Post what was drafted.

        Raises:
            DomainError: it is no draft, or the books do not take it.
        """
        content = self.require_draft()
        self._enter(content, books, drafted_by=self.drafted_by, prepared_by=self.drafted_by, posted_by=by)

    def discard(self) -> None:
        """Throw the draft away.

        Raises:
            DomainError: it is no draft.
        """
        self.require_draft()
        self._discarded()

    def reverse(
        self, reversal: "JournalEntry", posting_date: date, reason: str, books: Books, *, by: str
    ) -> None:
        """Take this entry back by posting `reversal`, a blank entry, with debits and credits swapped.

        Raises:
            DomainError: it is not posted, reversed already or dated later, or the books refuse the reversal.
        """
        original = self.require_posted()
        if posting_date < original.posting_date:
            detail = f"A reversal on {posting_date} would precede the entry of {original.posting_date}."
            raise ReversalBeforeOriginal(
                detail,
                posting_date=posting_date.isoformat(),
                original_posting_date=original.posting_date.isoformat(),
            )
        content = replace(
            original,
            posting_date=posting_date,
            memo=reason,
            lines=tuple(line.swapped() for line in original.lines),
        )
        # Whoever prepared the original cannot take it back alone either.
        reversal._enter(  # noqa: SLF001 - of the same class
            content, books, drafted_by=by, prepared_by=self.drafted_by, posted_by=by, reverses=self.id
        )
        self._reversed(reversal.id, reason)

    def require_written(self) -> EntryContent:
        """What the entry says, if there is one to be seen.

        Raises:
            DomainError: there is no such entry, or it was discarded.
        """
        if self.content is None:
            raise EntryNotFound(f"There is no journal entry {self.id}.", id=str(self.id))
        if self.status is EntryStatus.DISCARDED:
            raise EntryDiscarded(f"Journal entry {self.id} was discarded.", id=str(self.id))
        return self.content

    def require_draft(self) -> EntryContent:
        """What the draft says.

        Raises:
            DomainError: it is no draft.
        """
        content = self.require_written()
        if self.status is not EntryStatus.DRAFT:
            detail = f"Journal entry {self.id} is posted already, as {self.document_no}."
            raise EntryAlreadyPosted(detail, id=str(self.id), document_no=self.document_no)
        return content

    def require_posted(self) -> EntryContent:
        """What the entry says, if it is in the books and nothing took it back.

        Raises:
            DomainError: it is not posted, or reversed already.
        """
        content = self.require_written()
        if self.status is EntryStatus.DRAFT:
            raise EntryNotPosted(f"Journal entry {self.id} is a draft.", id=str(self.id))
        if self.status is EntryStatus.REVERSED:
            detail = f"Journal entry {self.id} was reversed already, by {self.reversed_by}."
            raise EntryAlreadyReversed(detail, id=str(self.id), reversed_by=str(self.reversed_by))
        return content

    def _enter(
        self,
        content: EntryContent,
        books: Books,
        *,
        drafted_by: str,
        prepared_by: str,
        posted_by: str,
        reverses: UUID | None = None,
    ) -> None:
        period = books.require_taken(content)
        books.policy.require_approved(content.total, prepared_by=prepared_by, approved_by=posted_by)
        series = f"{content.journal}/{period.year}"
        # What calling `_posted` comes to, less the library's second look at its arguments: a hot path.
        self.trigger_event(
            JournalEntry.Posted,
            series=series,
            number=None,
            **_fields(content),
            reverses=reverses,
            drafted_by=drafted_by,
        )

    @event(Drafted)
    def _drafted(
        self,
        *,
        journal: str,
        posting_date: date,
        currency: str,
        memo: str,
        reference: str,
        lines: tuple[JournalLine, ...],
        drafted_by: str,
    ) -> None:
        self.status = EntryStatus.DRAFT
        self.content = EntryContent(journal, posting_date, currency, memo, reference, lines)
        self.drafted_by = drafted_by

    @event(Posted)
    def _posted(
        self,
        *,
        series: str,
        journal: str,
        posting_date: date,
        currency: str,
        memo: str,
        reference: str,
        lines: tuple[JournalLine, ...],
        reverses: UUID | None,
        drafted_by: str,
        number: int | None,
    ) -> None:
        self.status = EntryStatus.POSTED
        self.content = EntryContent(journal, posting_date, currency, memo, reference, lines)
        self.series = series
        self.number = number
        self.reverses = reverses
        self.drafted_by = drafted_by

    @event(Reversed)
    def _reversed(self, reversed_by: UUID, reason: str) -> None:  # noqa: ARG002 - the reason is for the reader of the log
        self.status = EntryStatus.REVERSED
        self.reversed_by = reversed_by

    @event(Discarded)
    def _discarded(self) -> None:
        self.status = EntryStatus.DISCARDED


def _fields(content: EntryContent) -> dict[str, Any]:
    """By the names that the events carry them under."""
    return {name: getattr(content, name) for name in EntryContent.__slots__}
