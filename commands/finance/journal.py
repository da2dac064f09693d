"""Journal entries and their approval: commands and handlers."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from commands.bus import Command, Handler, Work
from commands.fields import (
    AmountText,
    BusinessDate,
    CurrencyCode,
    Dimensions,
    FixedPermission,
    Flag,
    LongText,
    NaturalKey,
    Reason,
    ShortText,
    require_decimals_of,
)
from domain.finance.account import Account, account_id
from domain.finance.approval_policy import ApprovalPolicy, approval_policy_id
from domain.finance.books import Books
from domain.finance.double_entry import EntryContent, JournalLine
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from domain.finance.journal_entry import JournalEntry
from domain.shared.money import Money

LINES_MAX: Final = 1000


class SetApprovalPolicy(FixedPermission):
    """Set the amount above which another user than the preparer has to post."""

    TOPIC = "finance.set_approval_policy"
    needs = "finance.approval_policy:write"

    currency: CurrencyCode
    threshold: AmountText

    @model_validator(mode="after")
    def _decimals_of_currency(self) -> Self:
        require_decimals_of(self.currency, [(("threshold",), self.threshold)])
        return self


class Sided(BaseModel):
    """A debit or a credit, whatever says on which account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    debit: AmountText | None = None
    credit: AmountText | None = None
    memo: LongText = ""
    dimensions: Dimensions = Field(default_factory=dict)
    party: ShortText | None = None
    """Pseudonym of the customer or supplier, never a name."""

    def on(self, account: str) -> JournalLine:
        """The line as the ledger knows it."""
        debit = None if self.debit is None else Decimal(self.debit)
        credit = None if self.credit is None else Decimal(self.credit)
        return JournalLine(account, debit, credit, self.memo, self.dimensions, self.party)


def amounts(lines: Sequence[Sided]) -> Iterator[tuple[tuple[str | int, ...], str | None]]:
    """Where in a command each amount stands, and the amount."""
    for index, line in enumerate(lines):
        yield ("lines", index, "debit"), line.debit
        yield ("lines", index, "credit"), line.credit


class Line(Sided):
    """A debit or a credit on one account."""

    account: NaturalKey


class PostJournalEntry(Command):
    """Post a journal entry, or leave it as a draft."""

    TOPIC = "finance.post_journal_entry"
    creates = True

    journal: NaturalKey = "general"
    posting_date: BusinessDate
    currency: CurrencyCode
    memo: LongText = ""
    reference: ShortText = ""
    lines: Annotated[tuple[Line, ...], Field(max_length=LINES_MAX)]
    post: Flag = True

    def content(self) -> EntryContent:
        """What the entry is to say."""
        lines = tuple(line.on(line.account) for line in self.lines)
        return EntryContent(self.journal, self.posting_date, self.currency, self.memo, self.reference, lines)

    @model_validator(mode="after")
    def _decimals_of_currency(self) -> Self:
        require_decimals_of(self.currency, amounts(self.lines))
        return self

    @property
    def permission(self) -> str:
        """Drafting takes less than posting."""
        return "finance.journal_entries:post" if self.post else "finance.journal_entries:write"


class PostDraft(FixedPermission):
    """Post a draft as it is."""

    TOPIC = "finance.post_draft"
    needs = "finance.journal_entries:post"

    id: UUID


class ReverseJournalEntry(FixedPermission):
    """Take a posted entry back by a new one with debits and credits swapped."""

    TOPIC = "finance.reverse_journal_entry"
    needs = "finance.journal_entries:post"
    creates = True

    id: UUID
    posting_date: BusinessDate
    reason: Reason


class DiscardDraft(FixedPermission):
    """Throw a draft away."""

    TOPIC = "finance.discard_draft"
    needs = "finance.journal_entries:write"

    id: UUID


async def set_approval_policy(command: SetApprovalPolicy, work: Work) -> ApprovalPolicy:
    """See `ApprovalPolicy.set`."""
    policy = await work.edit(ApprovalPolicy, approval_policy_id(work.tenant, command.currency))
    policy.set(Money(Decimal(command.threshold), command.currency))
    return policy


async def post_journal_entry(command: PostJournalEntry, work: Work) -> JournalEntry:
    """See `JournalEntry.post` and `JournalEntry.draft`."""
    entry = work.new(JournalEntry)
    content = command.content()
    if command.post:
        entry.post(content, await books_for(content, work), by=work.actor)
    else:
        entry.draft(content, by=work.actor)
    return entry


async def post_draft(command: PostDraft, work: Work) -> JournalEntry:
    """See `JournalEntry.post_draft`."""
    entry = await work.edit(JournalEntry, command.id)
    books = await books_for(entry.require_draft(), work)
    entry.post_draft(books, by=work.actor)
    return entry


async def reverse_journal_entry(command: ReverseJournalEntry, work: Work) -> JournalEntry:
    """See `JournalEntry.reverse`; the answer is about the new entry."""
    original = await work.edit(JournalEntry, command.id)
    books = await books_for(original.require_posted(), work)
    reversal = work.new(JournalEntry)
    original.reverse(reversal, command.posting_date, command.reason, books, by=work.actor)
    return reversal


async def discard_draft(command: DiscardDraft, work: Work) -> JournalEntry:
    """See `JournalEntry.discard`."""
    entry = await work.edit(JournalEntry, command.id)
    entry.discard()
    return entry


async def books_for(content: EntryContent, work: Work, policy: ApprovalPolicy | None = None) -> Books:
    """All that the posting is judged by; read here, it is checked again at commit."""
    if policy is None:
        policy = await work.read(ApprovalPolicy, approval_policy_id(work.tenant, content.currency))
    codes = dict.fromkeys(line.account for line in content.lines)
    return Books(
        accounts={code: await work.read(Account, account_id(work.tenant, code)) for code in codes},
        calendar=await work.read(FiscalCalendar, calendar_id(work.tenant)),
        policy=policy,
    )


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    SetApprovalPolicy: set_approval_policy,
    PostJournalEntry: post_journal_entry,
    PostDraft: post_draft,
    ReverseJournalEntry: reverse_journal_entry,
    DiscardDraft: discard_draft,
}
