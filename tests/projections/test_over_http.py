"""Commands over HTTP, and reports that show them: the whole way, but for processes and Kafka."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib import import_module
from uuid import UUID, uuid4

import httpx
import pytest

from api.app import create_app
from api.auth import issue_token
from api.finance import FINANCE
from api.ports import ApiSettings
from commands.bus import Bus
from erp.contexts import handlers
from eventstore.vault import Vault
from tests.api.world import AUTH, ENTRIES, entry
from tests.projections.companies import Companies, companies, open_books

pytestmark = pytest.mark.integration

WAIT = {"Prefer": "wait=20"}
TRIAL_BALANCE = "/v1/finance/trial-balance"
BALANCE = "/v1/finance/accounts/1122/balance"
LEDGER = "/v1/finance/accounts/1122/ledger"


@pytest.fixture
async def shared(own_url: str, clickhouse_url: str) -> AsyncIterator[Companies]:
    async with companies(own_url, clickhouse_url) as made:
        yield made


@pytest.fixture
async def client(shared: Companies) -> AsyncIterator[httpx.AsyncClient]:
    """An accountant of a company with accounts and a fiscal year."""
    company = shared.company()
    await open_books(company, "our")

    async def tenant(name: str) -> UUID | None:
        return UUID(name)

    app = create_app(
        settings=ApiSettings(),
        auth=AUTH,
        bus=Bus(shared.store, handlers(), new_id=uuid4),
        store=shared.store,
        vault=Vault(shared.store.rows, bytes(32)),
        read_side=shared.read_side,
        tenants=tenant,
        contexts=[FINANCE],
        checks={},
    )
    token = issue_token(AUTH, tenant=str(company.tenant), user="alice", roles=["accountant"], ttl_s=600)
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://erp.test", headers=headers) as made:
        yield made


async def post(client: httpx.AsyncClient, amount: str, **changes: object) -> int:
    """Post an entry; returns its position."""
    lines = [{"account": "1122", "debit": amount}, {"account": "6001", "credit": amount}]
    answer = await client.post(ENTRIES, json=entry(lines=lines, **changes))
    assert answer.status_code == 201, answer.text
    return int(answer.json()["position"])


async def test_one_reads_what_one_has_written(client: httpx.AsyncClient) -> None:
    """From the position of the command on; what is not there in time is 503, and nothing else."""
    for amount, total in (("10.00", "10.00"), ("2.50", "12.50")):
        position = await post(client, amount)
        answer = await client.get(TRIAL_BALANCE, params={"min_position": position}, headers=WAIT)
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["x-projection-position"]) >= position
        assert answer.json()["position"] == int(answer.headers["x-projection-position"])
        assert answer.json()["totals"] == {"EUR": {"debit": total, "credit": total, "balance": "0.00"}}
        assert [each["balance"] for each in answer.json()["rows"]] == [total, f"-{total}"]
    for headers in ({}, {"Prefer": "wait=1"}):
        late = await client.get(TRIAL_BALANCE, params={"min_position": position + 100}, headers=headers)
        assert (late.status_code, late.json()["code"]) == (503, "projection_lagging")
        assert late.json()["position"] == int(late.headers["x-projection-position"]) == position
        assert late.headers["retry-after"] == "1"


async def test_the_books_as_they_were_known(client: httpx.AsyncClient) -> None:
    """Whatever is recorded later: the same answer for ever, byte for byte."""
    first = await post(client, "10.00")
    known_at = datetime.now(UTC).isoformat()
    asked = {"known_at": known_at, "as_of": "2026-12-31"}
    then = {}
    for path in (TRIAL_BALANCE, BALANCE, "/v1/finance/balance-sheet"):
        answer = await client.get(path, params=asked, headers=WAIT)
        assert answer.json()["position"] == first, answer.text
        then[path] = answer.content
    later = await post(client, "90.00", posting_date="2026-01-01")
    now = await client.get(BALANCE, params={"min_position": later}, headers=WAIT)
    assert [each["balance"] for each in now.json()["balances"]] == ["100.00"]
    for path, content in then.items():
        assert (await client.get(path, params=asked, headers=WAIT)).content == content
    future = await client.get(TRIAL_BALANCE, params={"known_at": "2290-01-01T00:00:00Z"})
    assert (future.status_code, future.json()["code"]) == (422, "known_at_in_future")


async def test_every_report_as_json_and_csv(client: httpx.AsyncClient) -> None:
    """The same figures in both."""
    position = await post(client, "10.00")
    settled = {"min_position": str(position)}

    async def rows(path: str) -> list[dict[str, str]]:
        answer = await client.get(path, params=settled, headers={**WAIT, "Accept": "text/csv"})
        assert answer.status_code == 200, answer.text
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))

    async def told(path: str) -> dict[str, list[dict[str, str]]]:
        answer = await client.get(path, params=settled, headers=WAIT)
        assert answer.status_code == 200, answer.text
        found: dict[str, list[dict[str, str]]] = answer.json()
        return found

    for path, member in (
        (TRIAL_BALANCE, "rows"),
        (BALANCE, "balances"),
        ("/v1/finance/income-statement", "rows"),
    ):
        assert await rows(path) == (await told(path))[member] != []
    ledger = (await told(LEDGER))["lines"]
    assert [each["debit"] for each in await rows(LEDGER)] == [each["debit"] for each in ledger] == ["10.00"]
    sheet = (await told("/v1/finance/balance-sheet"))["sections"]
    (row,) = await rows("/v1/finance/balance-sheet")
    assert row == {
        "type": "asset",
        "account": "1122",
        "name": "our 1122",
        "currency": "EUR",
        "balance": "10.00",
    }
    assert [each["type"] for each in sheet] == ["asset", "liability", "equity"]


async def test_a_ledger_that_is_too_long_is_asked_for_in_parts(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("projections.finance.ledger"), "LINES_MAX", 2)
    for day in ("2026-01-15", "2026-01-16", "2026-01-16"):
        position = await post(client, "10.00", posting_date=day)
    whole = await client.get(f"{LEDGER}?min_position={position}", headers=WAIT)
    assert (whole.status_code, whole.json()["code"]) == (422, "finance.ledger_too_long")
    part = await client.get(f"{LEDGER}?from=2026-01-16&min_position={position}", headers=WAIT)
    assert len(part.json()["lines"]) == 2


async def test_an_account_that_nobody_opened(client: httpx.AsyncClient) -> None:
    """404; also when it was opened later than the position that the answer stands at."""
    position = await post(client, "1.00")
    settled = {"min_position": position}
    for path in ("balance", "ledger"):
        answer = await client.get(f"/v1/finance/accounts/9/{path}", params=settled, headers=WAIT)
        assert (answer.status_code, answer.json()["code"]) == (404, "finance.account_not_found")
        early = await client.get(f"/v1/finance/accounts/1122/{path}?known_at=2000-01-01T00:00:00Z")
        assert (early.status_code, early.json()["code"]) == (404, "finance.account_not_found")


async def test_entries_are_listed_in_pages(client: httpx.AsyncClient) -> None:
    """Each once, whatever is recorded between two pages."""
    positions = [await post(client, "1.00", reference=f"r{number}") for number in range(5)]
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2", "min_position": str(positions[-1])}
    while True:
        page = (await client.get(ENTRIES, params=query, headers=WAIT)).json()
        seen += [each["reference"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
        if len(seen) == 2:
            query["min_position"] = str(await post(client, "1.00", reference="between"))
    assert seen == ["r0", "r1", "r2", "r3", "r4", "between"]
    found = await client.get(ENTRIES, params={"reference": "r3", "status": "posted"})
    assert [each["reference"] for each in found.json()["items"]] == ["r3"]
    assert (await client.get(ENTRIES, params={"account": "5001"})).json()["items"] == []
