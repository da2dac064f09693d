"""Two years of a company's books, written straight into the log (`history.sql`): millions of entries.

Two hundred accounts, two lines an entry, one currency. The days of the two years go by with the entries; one
entry of ten comes late, by up to sixty days.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from bench import entries
from commands.bus import Command
from commands.finance.calendar import OpenFiscalYear
from commands.finance.chart import OpenAccount
from domain.finance.account import AccountType
from erp.bootstrap import running_command_side
from erp.operator import Operator
from erp.settings import Settings
from eventstore.tenants import register_tenant

TENANT: Final = "history"
YEARS: Final = (entries.YEAR - 2, entries.YEAR - 1)
FIRST_DAY: Final = date(YEARS[0], 1, 1)
ACCOUNTS: Final = tuple(
    (f"{1 + group}{number:03}", kind) for group, kind in enumerate(AccountType) for number in range(40)
)
PAGE: Final = 50_000
LINES_PER_ENTRY: Final = 2

_SQL: Final = Path(__file__).with_name("history.sql")
_WRITERS: Final = 2
_WRITE_PAGE: Final = """
    CALL bench.write_page(
        %(tenant)s, %(accounts)s, %(first)s::bigint, %(page)s::bigint, %(total)s::bigint, %(first_day)s,
        %(position)s::bigint, %(tenant_seq)s::bigint, %(began)s, %(metadata)s)"""
# What the foreign key would look up for each row is known.
_WRITER: Final = "-c session_replication_role=replica -c synchronous_commit=off -c work_mem=256MB"


class _End(NamedTuple):
    """Of the log."""

    position: int
    tenant_seq: int
    recorded_at: datetime


class History:
    """The books of one tenant, of which more and more is written.

    Args:
        settings: of a Postgres where nobody else appends.
        total: how many entries the two years have, a multiple of `PAGE`.
    """

    def __init__(self, settings: Settings, total: int) -> None:
        self._url = settings.postgres.need("owner_url")
        self._total = total
        self.tenant = asyncio.run(_open_books(settings))
        self.written = 0
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(_SQL.read_bytes())
            connection.execute("CALL bench.plan(%s::bigint, %s::bigint, %s)", [total, PAGE, FIRST_DAY])

    def write(self, up_to: int) -> dict[str, Any]:
        """Write until there are so many entries, a multiple of `PAGE`."""
        began = time.monotonic()
        end = self._end()
        with ThreadPoolExecutor(_WRITERS) as writers:
            list(writers.map(lambda first: self._write_page(first, end), range(self.written, up_to, PAGE)))
        seconds = time.monotonic() - began
        events, self.written = up_to - self.written, up_to
        return {"events": events, "seconds": seconds, "per_s": events / seconds}

    def _end(self) -> _End:
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute(
                """SELECT max(position), max(tenant_seq) FILTER (WHERE tenant = %s), max(recorded_at)
                     FROM erp.events""",
                [self.tenant],
            ).fetchone()
        assert row is not None, "a row of aggregates"
        return _End(*row)

    def _write_page(self, first: int, end: _End) -> None:
        with psycopg.connect(self._url, autocommit=True, options=_WRITER) as connection:
            connection.execute(
                _WRITE_PAGE,
                {
                    "tenant": self.tenant,
                    "accounts": [code for code, _ in ACCOUNTS],
                    "first": first,
                    "page": PAGE,
                    "total": self._total,
                    "first_day": FIRST_DAY,
                    # Where entry 0 would follow, so that the first one to be written now follows on the end.
                    "position": end.position - self.written,
                    "tenant_seq": end.tenant_seq - self.written,
                    "began": end.recorded_at + timedelta(microseconds=1 - self.written),
                    "metadata": entries.event_metadata(),
                },
            )


async def _open_books(settings: Settings) -> UUID:
    """The tenant, with its fiscal years and accounts; by commands, like those of any company."""
    owner_url = settings.postgres.need("owner_url")
    tenant, _ = register_tenant(owner_url, TENANT, base_currency="EUR", time_zone="UTC")
    opened: list[Command] = [OpenFiscalYear(year=year, start=date(year, 1, 1)) for year in YEARS]
    opened += [OpenAccount(code=code, name=f"Account {code}", type=kind) for code, kind in ACCOUNTS]
    async with running_command_side(settings) as side:
        operator = Operator(side.bus, tenant.tenant, user=entries.USER)
        for number, command in enumerate(opened):
            await operator.execute(command, idempotency_key=f"history/{number}")
    return tenant.tenant
