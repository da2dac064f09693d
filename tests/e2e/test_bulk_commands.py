"""Many commands in one request, each with its own answer."""

import pytest

from tests.e2e.contract import CASH, credit, debit
from tests.e2e.system import ENTRIES, Books, bulk_line, entry

pytestmark = pytest.mark.e2e


def test_bulk(books: Books) -> None:
    """An answer a line in the same order, each line by itself, of every command by its name."""
    draft = books.post(post=False).json()["id"]
    lines = [
        bulk_line("finance.open_account", CASH),
        bulk_line("finance.post_journal_entry", entry("1")),
        bulk_line("finance.post_journal_entry", entry("2", lines=[debit("1122"), credit("6001", "9.99")])),
        b"not json\n",
        bulk_line("finance.discard_draft", {"id": draft}),
        bulk_line("finance.set_approval_policy", {"currency": "USD", "threshold": "5.00"}),
        bulk_line("finance.close_period", {"period": "2031-01"}),
        bulk_line("finance.open_fiscal_year", {"year": 2027, "start": "2027-01-01"}),
        bulk_line("finance.post_journal_entry", entry("3")).rstrip(b"\n"),
    ]
    told = books.bulk(*lines)
    assert [each["line"] for each in told] == list(range(1, 10))
    assert [each["status"] for each in told] == [201, 201, 422, 400, 200, 200, 404, 201, 201]
    assert told[1].keys() == {"line", "status", "id", "version", "position"}
    assert told[2]["code"] == "finance.entry_unbalanced"
    assert told[2]["detail"]
    assert books.get(f"{ENTRIES}/{told[1]['id']}")["reference"] == "1"


def test_one_key_on_several_lines(books: Books) -> None:
    """The same line twice is done once and told twice; another line under that key is refused."""
    line = bulk_line("finance.post_journal_entry", entry("1"), idempotency_key="k")
    told = books.bulk(line, line, bulk_line("finance.post_journal_entry", entry("2"), idempotency_key="k"))
    good = [each for each in told if each["status"] == 201]
    assert len(books.events("finance.journal_entry.posted")) == 1
    assert len({each["id"] for each in good}) == 1
    assert {each["code"] for each in told if each["status"] != 201} == {"idempotency_key_reused"}
