"""A ledger against a plain model of it: whatever is done in whatever order, they agree."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from domain.finance.account import Account, AccountType
from domain.finance.books import Books
from domain.finance.double_entry import EntryContent, JournalLine
from domain.finance.journal_entry import EntryStatus, JournalEntry
from domain.shared.errors import DomainError
from tests.finance.ledger import blank, calendar, policy, replayed

THRESHOLD = 500

codes = st.sampled_from(["10", "11", "12", "13"])
debited = st.sampled_from(["10", "10", "11", "11", "12"])
credited = st.sampled_from(["10", "10", "11", "13"])
# Seldom named, so that most of the books stay in use.
doomed = st.sampled_from(["12", "13", "16", "17"])
users = st.sampled_from(["alice", "bob"])
months = st.integers(1, 4)
amounts = st.integers(1, 1000)


class Ledger(RuleBasedStateMachine):
    """The model: a dict of balances, sets of codes, and how many periods are closed."""

    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.books = Books({}, calendar(2026), policy(str(THRESHOLD)))
        self.accounts: dict[str, Account] = {}
        self.written: list[JournalEntry] = []
        # The model.
        self.opened: set[str] = set()
        self.closed: set[str] = set()
        self.parents: set[str] = set()
        self.closed_months = 0
        self.balances: dict[str, int] = {}
        # Enough to book with from the start; what opens later is for the rules.
        for code in ("10", "11", "12"):
            self.open_account(code)

    def done(self, step: Callable[[], object]) -> bool:
        """Whether the ledger lets it happen."""
        try:
            step()
        except DomainError:
            return False
        return True

    def now(self) -> Books:
        return Books(dict(self.accounts), self.books.calendar, self.books.policy)

    def takes(self, debit: str, credit: str, month: int) -> bool:
        postable = self.opened - self.closed - self.parents
        return {debit, credit} <= postable and month > self.closed_months

    def book(self, debit: str, credit: str, amount: int) -> None:
        self.balances[debit] = self.balances.get(debit, 0) + amount
        self.balances[credit] = self.balances.get(credit, 0) - amount

    @rule(code=codes)
    def open_account(self, code: str) -> None:
        opened = self.accounts.get(code) or blank(Account)
        assert self.done(lambda: opened.open(code=code, name=code, type=AccountType.ASSET)) == (
            code not in self.opened
        )
        self.accounts[code] = opened
        self.opened.add(code)

    @rule(parent=doomed, child=st.sampled_from(["14", "15"]))
    def open_child(self, parent: str, child: str) -> None:
        opened = self.accounts.get(child) or blank(Account)
        allowed = child not in self.opened and parent in self.opened - self.closed
        assert allowed == self.done(
            lambda: opened.open(
                code=child,
                name=child,
                type=AccountType.ASSET,
                parent_code=parent,
                parent=self.accounts.get(parent),
            )
        )
        if allowed:
            self.accounts[child] = opened
            self.opened.add(child)
            self.parents.add(parent)

    @rule(code=doomed)
    def close_account(self, code: str) -> None:
        kept = self.accounts.get(code) or blank(Account)
        assert self.done(lambda: kept.close(code)) == (code in self.opened - self.closed)
        self.closed |= {code} & self.opened

    @rule(month=months)
    def close_period(self, month: int) -> None:
        allowed = month == self.closed_months + 1
        assert allowed == self.done(lambda: self.books.calendar.close_period(f"2026-{month:02}"))
        self.closed_months += allowed

    @rule(month=months)
    def reopen_period(self, month: int) -> None:
        allowed = month == self.closed_months
        assert allowed == self.done(lambda: self.books.calendar.reopen_period(f"2026-{month:02}"))
        self.closed_months -= allowed

    @rule(target=entries, debit=debited, credit=credited, month=months, amount=amounts, by=users)
    def draft(self, debit: str, credit: str, month: int, amount: int, by: str) -> JournalEntry:
        lines = (JournalLine(debit, debit=Decimal(amount)), JournalLine(credit, credit=Decimal(amount)))
        entry = blank(JournalEntry)
        entry.draft(EntryContent("general", date(2026, month, 1), "EUR", "", "", lines), by=by)
        self.written.append(entry)
        return entry

    @rule(target=entries, debit=debited, credit=credited, month=months, amount=amounts, by=users)
    def post_at_once(self, debit: str, credit: str, month: int, amount: int, by: str) -> object:
        lines = (JournalLine(debit, debit=Decimal(amount)), JournalLine(credit, credit=Decimal(amount)))
        said = EntryContent("general", date(2026, month, 1), "EUR", "", "", lines)
        entry = blank(JournalEntry)
        allowed = self.takes(debit, credit, month) and amount <= THRESHOLD
        assert allowed == self.done(lambda: entry.post(said, self.now(), by=by))
        if not allowed:
            return multiple()
        self.written.append(entry)
        self.book(debit, credit, amount)
        return entry

    @rule(entry=entries, by=users)
    def post(self, entry: JournalEntry, by: str) -> None:
        assert entry.content is not None
        debit, credit = (line.account for line in entry.content.lines)
        amount = int(entry.content.total)
        allowed = (
            entry.status is EntryStatus.DRAFT
            and self.takes(debit, credit, entry.content.posting_date.month)
            and (amount <= THRESHOLD or by != entry.drafted_by)
        )
        assert allowed == self.done(lambda: entry.post_draft(self.now(), by=by))
        if allowed:
            self.book(debit, credit, amount)

    @rule(entry=consumes(entries))
    def discard(self, entry: JournalEntry) -> None:
        assert (entry.status is EntryStatus.DRAFT) == self.done(entry.discard)

    @rule(entry=entries, month=months, by=users)
    def reverse(self, entry: JournalEntry, month: int, by: str) -> None:
        assert entry.content is not None
        debit, credit = (line.account for line in entry.content.lines)
        amount = int(entry.content.total)
        allowed = (
            entry.status is EntryStatus.POSTED
            and self.takes(debit, credit, month)
            and month >= entry.content.posting_date.month
            and (amount <= THRESHOLD or by != entry.drafted_by)
        )
        reversal = blank(JournalEntry)
        day = date(2026, month, 1)
        assert allowed == self.done(lambda: entry.reverse(reversal, day, "wrong", self.now(), by=by))
        if allowed:
            self.written.append(reversal)
            self.book(credit, debit, amount)

    def in_the_books(self) -> list[JournalEntry]:
        return [entry for entry in self.written if entry.status in {EntryStatus.POSTED, EntryStatus.REVERSED}]

    @invariant()
    def debits_equal_credits(self) -> None:
        assert sum(self.balances.values()) == 0

    @invariant()
    def the_ledger_has_the_balances_of_the_model(self) -> None:
        balances: dict[str, Decimal] = {}
        for entry in self.in_the_books():
            assert entry.content is not None
            for line in entry.content.lines:
                change = (line.debit or Decimal(0)) - (line.credit or Decimal(0))
                balances[line.account] = balances.get(line.account, Decimal(0)) + change
        assert balances == self.balances

    def teardown(self) -> None:
        """Replay equals live."""
        for live in (*self.written, *self.accounts.values(), self.books.calendar):
            assert replayed(live) == live


TestLedger = Ledger.TestCase
