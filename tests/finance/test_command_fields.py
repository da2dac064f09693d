"""What the commands take, and where they say that it is wrong."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from commands.bus import Command
from commands.finance import (
    HANDLERS,
    OpenAccount,
    OpenFiscalYear,
    PostDraft,
    PostJournalEntry,
    ReverseJournalEntry,
    SetApprovalPolicy,
)

Place = tuple[str | int, ...]

DATA: dict[str, Any] = {
    "posting_date": "2026-02-03",
    "currency": "EUR",
    "lines": [{"account": "1122", "debit": "1130.00"}, {"account": "6001", "credit": "1130.00"}],
}
ACCOUNT: dict[str, Any] = {"code": "1122", "name": "Accounts receivable", "type": "asset"}


def places(command: type[Command], data: Any) -> set[Place]:
    """Where the command says that the data are wrong."""
    with pytest.raises(ValidationError) as refusal:
        command.model_validate(data)
    return {error["loc"] for error in refusal.value.errors()}


def with_line(**fields: Any) -> dict[str, Any]:
    return {**DATA, "lines": [DATA["lines"][0], {"account": "6001", "credit": "1", **fields}]}


def test_what_may_be_left_out():
    command = PostJournalEntry.model_validate(DATA)
    assert (command.journal, command.memo, command.reference, command.post) == ("general", "", "", True)
    assert command.posting_date == date(2026, 2, 3)
    assert command.why is None


def test_the_permission_depends_on_posting():
    assert PostJournalEntry.model_validate(DATA).permission == "finance.journal_entries:post"
    assert (
        PostJournalEntry.model_validate({**DATA, "post": False}).permission == "finance.journal_entries:write"
    )


@pytest.mark.parametrize(
    "amount",
    [
        *(1, 1.5, True, [], {}),
        *("", " 1", "1 ", "1\n", "+1", "1.", ".5", "1e3", "1,000", "NaN", "Infinity", "0x1", "1_0", "٣"),
        *("1" * 16, "9" * 40, "1.12345", "1.123", "1.000"),
    ],
)
def test_what_is_no_amount_in_euros(amount: Any):
    assert places(PostJournalEntry, with_line(credit=amount)) == {("lines", 1, "credit")}
    assert places(SetApprovalPolicy, {"currency": "EUR", "threshold": amount}) == {("threshold",)}


def test_every_amount_that_is_too_fine_is_named():
    lines = [{"account": "1122", "debit": "1.5"}, {"account": "6001", "credit": "1.0", "debit": "1"}]
    found = places(PostJournalEntry, {**DATA, "currency": "JPY", "lines": lines})
    assert found == {("lines", 0, "debit"), ("lines", 1, "credit")}


@pytest.mark.parametrize("currency", ["EURO", "eur", "XXX", "", " EUR", 978, None, ["EUR"]])
def test_what_is_no_currency(currency: Any):
    assert places(PostJournalEntry, {**DATA, "currency": currency}) == {("currency",)}


@pytest.mark.parametrize(
    "day",
    [
        *("2026-02-30", "2025-02-29", "2026-13-01", "0000-01-01", "2026-2-3", "20260203", "2026-W05-2"),
        *("2026-02-03T00:00:00", "2026-02-03 ", "٢٠٢٦-02-03", "", "today", 20260203, 1.5, None, True, []),
    ],
)
def test_what_is_no_date(day: Any):
    assert places(PostJournalEntry, {**DATA, "posting_date": day}) == {("posting_date",)}


@given(st.dates())
def test_every_date_that_exists_is_one(day: date):
    assert PostJournalEntry.model_validate({**DATA, "posting_date": day.isoformat()}).posting_date == day


@pytest.mark.parametrize("text", ["a\x00", "a\nb", "\x7f", "\x85", "a\n", "\ud800", 5, None, ["a"]])
def test_what_is_no_text(text: Any):
    for name in ("memo", "reference"):
        assert places(PostJournalEntry, {**DATA, name: text}) == {(name,)}
    assert places(PostJournalEntry, with_line(memo=text)) == {("lines", 1, "memo")}


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=200))
def test_every_other_text_stays_as_it_is(text: str):
    assert PostJournalEntry.model_validate({**DATA, "memo": text}).memo == text


@pytest.mark.parametrize("flag", ["true", "yes", 1, 0, None])
def test_a_truth_is_true_or_false(flag: Any):
    assert places(PostJournalEntry, {**DATA, "post": flag}) == {("post",)}


@pytest.mark.parametrize("code", ["", " 1", "-1", "a/b", "a" * 65, "ä", "a\n", 1122, None])
def test_what_is_no_natural_key(code: Any):
    assert places(OpenAccount, {**ACCOUNT, "code": code}) == {("code",)}
    assert places(PostJournalEntry, with_line(account=code)) == {("lines", 1, "account")}


def test_unknown_fields_are_refused_where_they_are():
    assert places(PostJournalEntry, {**DATA, "number": 1}) == {("number",)}
    assert places(PostJournalEntry, with_line(amount="1")) == {("lines", 1, "amount")}
    assert places(OpenAccount, {**ACCOUNT, "TOPIC": "x"}) == {("TOPIC",)}


def test_missing_fields_are_named():
    assert places(PostJournalEntry, {}) == {("posting_date",), ("currency",), ("lines",)}
    assert places(OpenAccount, {}) == {("code",), ("name",), ("type",)}


@pytest.mark.parametrize("lines", [None, "ab", 5, {}, [DATA["lines"][0]] * 1001, [DATA["lines"][0]] * 10_000])
def test_what_are_no_lines(lines: Any):
    assert places(PostJournalEntry, {**DATA, "lines": lines}) == {("lines",)}


def test_a_thousand_lines_are_lines():
    PostJournalEntry.model_validate({**DATA, "lines": [DATA["lines"][0]] * 1000})


def test_dimensions_are_texts_by_key():
    assert places(PostJournalEntry, with_line(dimensions={"cost_centre": 4711})) == {
        ("lines", 1, "dimensions", "cost_centre")
    }
    many = {f"d{number}": "x" for number in range(33)}
    assert places(PostJournalEntry, with_line(dimensions=many)) == {("lines", 1, "dimensions")}


@pytest.mark.parametrize("currencies", [[], ["EUR", "EUR"], "EUR", {}])
def test_what_is_no_list_of_currencies(currencies: Any):
    assert places(OpenAccount, {**ACCOUNT, "currencies": currencies}) == {("currencies",)}


def test_a_wrong_currency_in_the_list_is_named():
    assert places(OpenAccount, {**ACCOUNT, "currencies": ["EUR", "XXX"]}) == {("currencies", 1)}


@pytest.mark.parametrize("year", ["2026", 2026.0, True, 1899, 2300, None])
def test_what_is_no_year(year: Any):
    assert places(OpenFiscalYear, {"year": year, "start": "2026-01-01"}) == {("year",)}


def test_a_reversal_has_a_reason():
    data = {"id": "79d8cf41-72a9-4b47-adc0-68a913db268a", "posting_date": "2026-02-03", "reason": ""}
    assert places(ReverseJournalEntry, data) == {("reason",)}
    assert ReverseJournalEntry.model_validate({**data, "reason": "wrong"}).why == "wrong"


@pytest.mark.parametrize("stream_id", ["", "1", 5, None])
def test_what_is_no_id(stream_id: Any):
    assert places(PostDraft, {"id": stream_id}) == {("id",)}


def test_names_are_those_of_the_contract():
    assert sorted(command.TOPIC for command in HANDLERS) == [
        "finance.close_account",
        "finance.close_period",
        "finance.discard_draft",
        "finance.lock_period",
        "finance.open_account",
        "finance.open_fiscal_year",
        "finance.post_draft",
        "finance.post_journal_entry",
        "finance.post_voucher",
        "finance.reopen_period",
        "finance.reverse_journal_entry",
        "finance.set_account_mapping",
        "finance.set_approval_policy",
    ]
    assert sorted(command.TOPIC for command in HANDLERS if command.creates) == [
        "finance.open_account",
        "finance.open_fiscal_year",
        "finance.post_journal_entry",
        "finance.post_voucher",
        "finance.reverse_journal_entry",
    ]


@pytest.mark.parametrize("command", HANDLERS, ids=lambda command: command.TOPIC)
def test_every_command_describes_itself(command: type[Command]):
    schema = command.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["description"]
