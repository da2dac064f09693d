"""The books: accounts, periods, entries, and who may do what with them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from erp.demo.story import ACCOUNTS, ENTRIES, PERIODS, POLICY, Chapter, Story, sale


def _a_company(tour: Story) -> None:
    """A company of our own is made, with empty books. Nobody else in this system sees into it."""
    tour.command("tenant", "create", tour.tenant, "--chart", "none")


def _accounts(tour: Story) -> None:
    """Carol, the controller, opens accounts. 1122 lies under 1000, which thereby becomes a heading."""
    chart = (
        {"code": "1000", "name": "Assets", "type": "asset"},
        {"code": "1122", "name": "Accounts receivable", "type": "asset", "parent": "1000"},
        {"code": "6001", "name": "Sales revenue", "type": "income"},
    )
    for account in chart:
        tour.ask("carol", "POST", ACCOUNTS, account, expect=201)
    found = tour.ask("carol", "GET", ACCOUNTS, expect=200).body["items"]
    leaves = {each["code"]: each["is_leaf"] for each in found}
    tour.expect(
        "all three are in the chart; only 1000 is no leaf",
        leaves == {"1000": False, "1122": True, "6001": True},
    )


def _year(tour: Story) -> None:
    """She opens the fiscal year 2026."""
    tour.ask("carol", "POST", "/v1/finance/fiscal-years", {"year": 2026, "start": "2026-01-01"}, expect=201)
    periods = tour.ask("carol", "GET", PERIODS, expect=200).body["items"]
    statuses = [each["status"] for each in periods]
    tour.expect("it has twelve open periods", statuses == ["open"] * 12)
    for year in range(2027, datetime.now(UTC).year + 1):  # what is sold today is booked today
        body = {"year": year, "start": f"{year}-01-01"}
        tour.ask("carol", "POST", "/v1/finance/fiscal-years", body, expect=201)


def _posting(tour: Story) -> None:
    """Alice, an accountant, posts a sale. Posting gives the entry its number."""
    posted = tour.post("1130.00", Idempotency_Key="sale-1")
    entry = tour.entry(posted.body["id"])
    tour.expect("it is number 1 of its journal and year", entry["number"] == 1)
    tour.expect("its document number is general/2026/000001", entry["document_no"] == "general/2026/000001")


def _once(tour: Story) -> None:
    """The connection broke, say, and her program sends the same again under the same key: it happens once."""
    first = tour.ask("alice", "POST", ENTRIES, sale("1130.00"), expect=201, Idempotency_Key="sale-1")
    tour.expect("it says that this is a replay", first.headers["Idempotency-Replayed"] == "true")
    tour.expect("it is the answer of the first time", first.body["id"] == tour.posted[0])


def _key_reused(tour: Story) -> None:
    """Another request under that key is a mistake, and told to be one."""
    other = sale("99.00")
    code = "idempotency_key_reused"
    tour.ask("alice", "POST", ENTRIES, other, expect=422, code=code, Idempotency_Key="sale-1")


def _no_gap(tour: Story) -> None:
    """An entry that does not balance is refused, and takes no number with it."""
    tour.ask("alice", "POST", ENTRIES, sale("20.00", "19.99"), expect=422, code="finance.entry_unbalanced")
    entry = tour.entry(tour.post("20.00").body["id"])
    tour.expect("the next good one is number 2: no gap", entry["number"] == 2)  # noqa: PLR2004


def _four_eyes(tour: Story) -> None:
    """Carol wants a second pair of eyes above 2,000 EUR: Alice drafts 5,000, which Bob has to post."""
    tour.ask("carol", "PUT", POLICY, {"currency": "EUR", "threshold": "2000.00"}, expect=200)
    draft = tour.ask("alice", "POST", ENTRIES, sale("5000.00", post=False), expect=201).body["id"]
    posting = f"{ENTRIES}/{draft}/post"
    tour.ask("alice", "POST", posting, expect=422, code="finance.approval_required")
    tour.ask("bob", "POST", posting, expect=200)
    tour.posted.append(draft)
    entry = tour.entry(draft)
    tour.expect("it is posted, and says who drafted it", entry["drafted_by"] == "alice")


def _reversal(tour: Story) -> None:
    """A posted entry never changes. It is taken back by another one, once."""
    why = {"posting_date": "2026-01-31", "reason": "Sold to the wrong customer"}
    path = f"{ENTRIES}/{tour.posted[0]}/reverse"
    reversal = tour.ask("alice", "POST", path, why, expect=201).body["id"]
    tour.posted.append(reversal)
    tour.ask("alice", "POST", path, why, expect=422, code="finance.entry_already_reversed")
    original, taken_back = tour.entry(tour.posted[0]), tour.entry(reversal)
    tour.expect(
        "the two are linked both ways",
        (original["reversed_by"], taken_back["reverses"]) == (reversal, original["id"]),
    )
    tour.expect("debit and credit have changed sides", taken_back["lines"][0]["credit"] == "1130.00")


def _parent(tour: Story) -> None:
    """1000 is a heading: it takes no postings."""
    lines = [{"account": "1000", "debit": "5.00"}, {"account": "6001", "credit": "5.00"}]
    entry = sale("5.00") | {"lines": lines}
    tour.ask("alice", "POST", ENTRIES, entry, expect=422, code="finance.account_not_leaf")


def _closing(tour: Story) -> None:
    """Carol closes January: nothing can be posted into it, until she reopens it."""
    tour.ask("carol", "POST", f"{PERIODS}/2026-01/close", {"reason": "January is done"}, expect=200)
    tour.ask("alice", "POST", ENTRIES, sale("30.00"), expect=422, code="finance.period_closed")
    tour.ask("carol", "POST", f"{PERIODS}/2026-01/reopen", {"reason": "One was missing"}, expect=200)
    tour.post("30.00")


def _if_match(tour: Story) -> None:
    """Bob insists on the version that he has seen, and is told when it is not the current one."""
    draft = tour.ask("alice", "POST", ENTRIES, sale("40.00", post=False), expect=201)
    posting = f"{ENTRIES}/{draft.body['id']}/post"
    tour.ask("bob", "POST", posting, expect=412, code="version_mismatch", If_Match='"7"')
    tour.ask("bob", "POST", posting, expect=200, If_Match=draft.headers["ETag"])
    tour.posted.append(draft.body["id"])


def _bulk(tour: Story) -> None:
    """Three entries in one request, the second on an account that does not exist: each line stands alone."""
    bad = sale("2.00") | {
        "lines": [{"account": "none", "debit": "2.00"}, {"account": "6001", "credit": "2.00"}]
    }
    lines = [
        {"command": "finance.post_journal_entry", "data": data} for data in (sale("1.00"), bad, sale("3.00"))
    ]
    told = tour.ask("alice", "POST", "/v1/commands", lines, expect=200).body
    tour.expect(
        "the first and the third are posted, the second is not",
        [each["status"] for each in told] == [201, 422, 201],
    )
    tour.expect("and one is told why", told[1]["code"] == "finance.account_unknown")
    tour.posted += [told[0]["id"], told[2]["id"]]


def _auditor(tour: Story) -> None:
    """Olga, the auditor, may read everything and write nothing. Without a token one may do neither."""
    tour.entry(tour.posted[0], "olga")
    tour.ask("olga", "POST", ENTRIES, sale("50.00"), expect=403, code="permission_denied")
    tour.ask(None, "GET", f"{ENTRIES}/{tour.posted[0]}", expect=401, code="unauthenticated")


def _current(tour: Story) -> None:
    """What is read is always the present state: a draft is there at once, and gone at once when discarded."""
    draft = tour.ask("alice", "POST", ENTRIES, sale("60.00", post=False), expect=201).body["id"]
    tour.expect("it is there, as a draft without a number", tour.entry(draft)["status"] == "draft")
    tour.ask("alice", "DELETE", f"{ENTRIES}/{draft}", expect=200)
    tour.entry(draft, expect=404, code="finance.entry_discarded")


CHAPTERS: Final[Sequence[Chapter]] = (
    _a_company,
    _accounts,
    _year,
    _posting,
    _once,
    _key_reused,
    _no_gap,
    _four_eyes,
    _reversal,
    _parent,
    _closing,
    _if_match,
    _bulk,
    _auditor,
    _current,
)
