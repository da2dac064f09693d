"""No tenant sees a trace of another in the answer to any question: each one that is registered is asked."""

from collections.abc import AsyncIterator, Mapping
from datetime import date
from typing import Any

import orjson
import pytest

from commands.finance import ReverseJournalEntry
from domain.shared.errors import DomainError
from erp.contexts import CONTEXTS, projections, queries
from tests.dsl import Company
from tests.projections.companies import Companies, companies, hear, keep_stock, open_books, post, sell

pytestmark = pytest.mark.integration

LAST_DAY = date(2026, 12, 31)
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "finance.trial_balance": {"as_of": LAST_DAY},
    "finance.account_balance": {"account": "1122", "as_of": LAST_DAY},
    "finance.ledger": {"account": "1122"},
    "finance.balance_sheet": {"as_of": LAST_DAY},
    "finance.income_statement": {"first": date(2026, 1, 1), "last": LAST_DAY},
    "finance.journal_entries": {"limit": 100},
    "inventory.stock_levels": {"limit": 100},
    "inventory.movements": {"limit": 100},
    "inventory.stock_valuation": {"as_of": LAST_DAY},
    "sagas.sagas": {"limit": 100},
    "sales.orders": {"limit": 100},
    "sales.revenue": {"group_by": "sku"},
}
"""With what each query is asked here; one that is not in it fails the tests below."""


@pytest.fixture
async def shared(own_url: str, clickhouse_url: str) -> AsyncIterator[Companies]:
    async with companies(own_url, clickhouse_url) as made:
        yield made


async def trade(shared: Companies, company: Company, mark: str, amount: str) -> set[str]:
    """Business of all kinds; returns the traces of it: texts, amounts, ids."""
    posted = await post(company, amount, mark)
    taken_back = await post(company, amount, mark)
    reversal = ReverseJournalEntry(id=taken_back.id, posting_date=date(2026, 2, 1), reason=mark)
    ids = [posted.id, taken_back.id, (await company.execute(reversal)).id]
    ids.append((await post(company, amount, mark, draft=True)).id)
    await keep_stock(company, amount, mark)
    ids.append((await sell(company, amount, mark)).id)
    await hear(shared.store, company.tenant, mark)
    return {mark, amount, *map(str, ids)}


def text(answer: Any) -> str:
    return orjson.dumps(answer, default=str).decode()


async def answers(shared: Companies, company: Company) -> dict[str, str]:
    """What every query that is registered answers to a tenant."""
    found = {}
    for query in queries():
        answered = await shared.read_side.ask(query, company.tenant, **EXAMPLES[query.name])
        found[query.name] = text(answered.answer)
    return found


def traces_in(answer: str, traces: set[str]) -> set[str]:
    return {each for each in traces if each in answer}


async def test_no_answer_shows_a_trace_of_another_tenant(shared: Companies) -> None:
    """Nor changes by what another one does: not from lines, not from closed buckets, not in any sum."""
    one, two, stranger = shared.company(), shared.company(), shared.company()
    await open_books(one, "alpha")
    ours = await trade(shared, one, "alpha", "111.11")
    await shared.caught_up()
    alone = await answers(shared, one)

    await open_books(two, "beta")
    theirs = await trade(shared, two, "beta", "7777.77")
    await shared.caught_up()
    told, told_them = await answers(shared, one), await answers(shared, two)
    assert told == alone
    for name, answer in told.items():
        assert traces_in(answer, ours), f"{name} shows nothing, so nothing is tried here"
        assert not traces_in(answer, theirs), name
        assert traces_in(told_them[name], theirs), name
        assert not traces_in(told_them[name], ours), name

    await shared.fill_a_bucket()
    assert await answers(shared, one) == told
    assert await answers(shared, two) == told_them
    for query in queries():
        try:
            answered = await shared.read_side.ask(query, stranger.tenant, **EXAMPLES[query.name])
        except DomainError as error:
            answer = text([error.detail, error.data])
        else:
            answer = text(answered.answer)
        assert not traces_in(answer, ours | theirs), query.name


def test_what_can_be_asked_is_registered() -> None:
    """Whatever has a route is in the registry, and so is tried above; and it reads what somebody fills."""
    registered = {each.name for each in queries()}
    for context in CONTEXTS:
        assert {route.query.name for route in context.routes.reports} <= registered
        assert {route.query.name for route in context.routes.searches} <= registered
    filled = {each.name for each in projections()}
    for query in queries():
        assert {each.name for each in query.reads} <= filled
    assert EXAMPLES.keys() == registered
