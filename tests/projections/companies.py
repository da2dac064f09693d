"""Companies whose books are kept in a real store and read from a real ClickHouse, in one process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from commands.bus import Answer
from commands.finance import OpenAccount, OpenFiscalYear, PostJournalEntry
from domain.finance.account import AccountType
from erp.contexts import aggregates, handlers, projections
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from projections.clickhouse import ClickHouse
from projections.finance.tables import DAILY_BALANCES
from projections.projector import Projector
from projections.reading import ReadSide
from tests.dsl import Company
from tests.eventstore.conftest import new_tenant
from tests.eventstore.tally import Tally, append, blank
from tests.projections.world import running

BUCKET = DAILY_BALANCES.definition.step
_AT_ONCE = 4096


@dataclass
class Companies:
    """A store that several tenants share, and the read side of it."""

    owner_url: str
    store: EventStore
    read_side: ReadSide

    def company(self) -> Company:
        """A tenant with nothing in its books."""
        return Company(self.store, handlers(), new_tenant(self.owner_url))

    async def fill_a_bucket(self) -> None:
        """Let the log go on to the end of a bucket of daily balances, with events of nobody's books, and wait
        until it is closed.
        """
        tenant = new_tenant(self.owner_url)
        head = await self.store.head()
        end = (head // BUCKET + 1) * BUCKET
        for start in range(head, end, _AT_ONCE):
            tally = blank()
            for _ in range(min(_AT_ONCE, end - start)):
                tally.add()
            await append(self.store, tenant, tally)
        await self.read_side.standing([DAILY_BALANCES], min_position=end, wait_s=60)

    async def caught_up(self) -> None:
        """Wait until every projection has what is in the log (those that go by steps: their steps)."""
        await self.read_side.standing(projections(), min_position=await self.store.head(), wait_s=60)


@asynccontextmanager
async def companies(owner_url: str, clickhouse_url: str) -> AsyncIterator[Companies]:
    """A log of its own, projected all the while."""
    codec = Codec([*aggregates(), Tally])
    async with (
        EventStore(with_user(owner_url, "erp_app"), codec) as store,
        ClickHouse(lambda: clickhouse_url) as clickhouse,
    ):
        worker = with_user(owner_url, "erp_worker")
        async with running(Projector(worker, clickhouse, codec, projections())):
            yield Companies(owner_url, store, ReadSide(clickhouse, store))


async def open_books(company: Company, mark: str) -> None:
    """A fiscal year and accounts, whose names carry the mark."""
    await company.execute(OpenFiscalYear(year=2026, start=date(2026, 1, 1)))
    accounts = {"1122": AccountType.ASSET, "6001": AccountType.INCOME, "5001": AccountType.EXPENSE}
    for code, kind in accounts.items():
        await company.execute(OpenAccount(code=code, name=f"{mark} {code}", type=kind))


async def post(company: Company, amount: str, mark: str, *, draft: bool = False, **more: Any) -> Answer:
    """An entry whose texts carry the mark."""
    lines: list[dict[str, Any]] = [
        {"account": "1122", "debit": amount, "memo": mark, "party": mark, "dimensions": {"cost": mark}},
        {"account": "6001", "credit": amount},
    ]
    entry = {
        "posting_date": date(2026, 1, 15),
        "currency": "EUR",
        "reference": mark,
        "lines": lines,
        "post": not draft,
        **more,
    }
    return await company.execute(PostJournalEntry.model_validate(entry))
