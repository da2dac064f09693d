"""Vouchers: what follows in the books from a movement of goods or money. Command and handler.

A voucher names parts, not accounts: which account plays a part is looked up when it is posted, in the
tenant's mapping.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from commands.bus import Command, Handler, Work
from commands.fields import (
    BusinessDate,
    CurrencyCode,
    FixedPermission,
    LongText,
    NaturalKey,
    ShortText,
    require_decimals_of,
)
from commands.finance.journal import LINES_MAX, Sided, amounts, books_for
from domain.finance.account_mapping import AccountMapping, account_mapping_id
from domain.finance.approval_policy import ApprovalPolicy, approval_policy_id
from domain.finance.double_entry import EntryContent
from domain.finance.journal_entry import JournalEntry
from domain.shared.aggregate import Aggregate

Part = Literal[
    "inventory",
    "goods_received_not_invoiced",
    "cost_of_goods_sold",
    "receivable",
    "revenue",
    "shipping_revenue",
    "tax",
    "cash",
    "inventory_adjustments",
]


class VoucherLine(Sided):
    """A debit or a credit on the account that plays a part."""

    part: Part
    warehouse: NaturalKey | None = None
    """Of the part `inventory`: whose stock it is."""


class PostVoucher(FixedPermission):
    """Post what follows from a movement of goods or money. No route: only processes of ours post vouchers."""

    TOPIC = "finance.post_voucher"
    needs = "finance.vouchers:post"
    creates = True

    journal: NaturalKey = "general"
    posting_date: BusinessDate
    currency: CurrencyCode
    memo: LongText = ""
    reference: Annotated[ShortText, StringConstraints(min_length=1)]
    """The document of the movement."""
    lines: Annotated[tuple[VoucherLine, ...], Field(max_length=LINES_MAX)]

    def content(self, mapping: AccountMapping) -> EntryContent:
        """What the entry is to say."""
        lines = tuple(line.on(mapping.account(line.part, line.warehouse)) for line in self.lines)
        return EntryContent(self.journal, self.posting_date, self.currency, self.memo, self.reference, lines)

    @model_validator(mode="after")
    def _decimals_of_currency(self) -> Self:
        require_decimals_of(self.currency, amounts(self.lines))
        return self


async def post_voucher(command: PostVoucher, work: Work) -> Aggregate:
    """See `JournalEntry.post`. Nobody's approval is asked for: what it follows from has happened.

    Where all parts are played by one account nothing moves, and nothing is posted: the answer is about the
    mapping then.
    """
    mapping = await work.read(AccountMapping, account_mapping_id(work.tenant))
    content = command.content(mapping).as_double_entry()
    if len({line.account for line in content.lines}) == 1:
        return mapping
    entry = work.new(JournalEntry)
    no_threshold = ApprovalPolicy.blank(approval_policy_id(work.tenant, content.currency))
    entry.post(content, await books_for(content, work, no_threshold), by=work.actor)
    return entry


HANDLERS: Final[Mapping[type[Command], Handler]] = {PostVoucher: post_voucher}
