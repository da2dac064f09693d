"""The list of journal entries, in the order in which they were first recorded.

In two steps, so that millions of entries do not meet in a join: a page of first events, then what happened to
just these entries later. What a status asks for or leaves out is a set of entries to which something happened
that happens to few.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal
from uuid import UUID

from domain.shared.money import amount_text
from projections.finance.ledger import document_no
from projections.view import View

EntryListStatus = Literal["draft", "posted", "reversed"]


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """A journal entry without its lines. A draft has no number yet.

    Attributes:
        total: of its debits, which is that of its credits.
        accounts: those it books on, each once, in order.
    """

    id: UUID
    status: EntryListStatus
    journal: str
    number: int | None
    document_no: str | None
    posting_date: date
    currency: str
    memo: str
    reference: str
    total: str
    accounts: Sequence[str]
    drafted_by: str
    reverses: UUID | None
    reversed_by: UUID | None


@dataclass(frozen=True, slots=True)
class ListedEntries:
    """A page of the list; `next_after` is where the next one begins, None after the last one."""

    items: tuple[ListedEntry, ...]
    next_after: int | None


# `later` is said in a form that lets the table be read in its order, and no further than the page goes.
_FIRST: Final = """
    SELECT entry, kind, position, journal, posting_date, currency, memo, reference, accounts, total, series,
           number, drafted_by, reverses
      FROM finance_entries
     WHERE later = false AND position > {after:UInt64}"""
_PAGE: Final = "ORDER BY position LIMIT {limit:UInt64}"
_LATER: Final = """
    SELECT entry, kind, series, number, reversed_by
      FROM finance_entries
     WHERE later = true AND position > {after:UInt64} AND entry IN {entries:Array(UUID)}"""


def _happened_to(*kinds: str) -> str:
    named = ", ".join(f"'{kind}'" for kind in kinds)
    return (
        "(SELECT entry FROM finance_entries "  # noqa: S608 - kinds of ours
        f"WHERE later = true AND position > {{after:UInt64}} AND kind IN ({named}))"
    )


_OF_STATUS: Final[Mapping[str | None, str]] = {
    None: f"entry NOT IN {_happened_to('discarded')}",
    "draft": f"kind = 'drafted' AND entry NOT IN {_happened_to('posted', 'discarded')}",
    "posted": f"(kind = 'posted' OR entry IN {_happened_to('posted')})"
    f" AND entry NOT IN {_happened_to('reversed')}",
    "reversed": f"entry IN {_happened_to('reversed')}",
}
_FILTERS: Final = {
    "account": "has(accounts, {account:String})",
    "first": "posting_date >= {first:Date32}",
    "last": "posting_date <= {last:Date32}",
    "reference": "reference = {reference:String}",
}


async def journal_entries(
    view: View,
    *,
    limit: int,
    after: int = 0,
    status: EntryListStatus | None = None,
    account: str | None = None,
    first: date | None = None,
    last: date | None = None,
    reference: str | None = None,
) -> ListedEntries:
    """A page of the entries that were not discarded.

    Args:
        view: of entries.
        limit: how many at most.
        after: `next_after` of the page before, 0 for the first page.
        status: those of this status only.
        account: those with a line on it only.
        first: those with a posting date from this day on only.
        last: those with a posting date up to this day only.
        reference: those with exactly this reference only.
    """
    given = {"account": account, "first": first, "last": last, "reference": reference}
    wanted = {name: value for name, value in given.items() if value is not None}
    conditions = " AND ".join((_OF_STATUS[status], *(_FILTERS[name] for name in wanted)))
    found = await view.rows(f"{_FIRST} AND {conditions} {_PAGE}", after=after, limit=limit + 1, **wanted)
    shown = found[:limit]
    later = await _later(view, shown)
    return ListedEntries(
        tuple(_listed(row, later[row["entry"]]) for row in shown),
        shown[-1]["position"] if len(found) > limit else None,
    )


async def _later(view: View, shown: Sequence[Mapping[str, Any]]) -> Mapping[UUID, Mapping[str, Any]]:
    """What happened to entries after they were first recorded, by entry and kind."""
    later: defaultdict[UUID, dict[str, Any]] = defaultdict(dict)
    if shown:
        entries = [str(row["entry"]) for row in shown]
        for row in await view.rows(_LATER, after=shown[0]["position"], entries=entries):
            later[row["entry"]][row["kind"]] = row
    return later


def _listed(row: Mapping[str, Any], later: Mapping[str, Any]) -> ListedEntry:
    posted = row if row["kind"] == "posted" else later.get("posted")
    reversed_ = later.get("reversed")
    return ListedEntry(
        id=row["entry"],
        status="draft" if posted is None else "posted" if reversed_ is None else "reversed",
        journal=row["journal"],
        number=None if posted is None else posted["number"],
        document_no=None if posted is None else document_no(posted["series"], posted["number"]),
        posting_date=row["posting_date"],
        currency=row["currency"],
        memo=row["memo"],
        reference=row["reference"],
        total=amount_text(row["total"], row["currency"]),
        accounts=row["accounts"],
        drafted_by=row["drafted_by"],
        reverses=row["reverses"],
        reversed_by=None if reversed_ is None else reversed_["reversed_by"],
    )
