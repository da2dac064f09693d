"""Reports of the running system: what was posted is read, and nothing is told when ClickHouse is gone."""

import httpx
import pytest

from erp.embedded.clickhouse import EmbeddedClickhouse
from tests.e2e.system import Api, Books, Home, Process, is_problem
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TRIAL_BALANCE = "/v1/finance/trial-balance"


def _read(books: Books, position: int, path: str = TRIAL_BALANCE, **headers: str) -> httpx.Response:
    params = {"min_position": position}
    return books.send("GET", path, params=params, headers={"Prefer": "wait=30", **headers})


def test_what_is_posted_is_read(api: Api, worker: Process, books: Books) -> None:
    """From its position on, by whoever may; as JSON and as CSV."""
    for number in range(1, 6):
        position = books.post(amount="10.00").json()["position"]
        answer = _read(books, position)
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["x-projection-position"]) >= position
        assert answer.json()["totals"]["EUR"]["debit"] == f"{number}0.00"
    table = _read(books, position, Accept="text/csv")
    assert table.text.splitlines()[1] == "1122,Accounts receivable,asset,EUR,50.00,0.00,50.00"
    assert is_problem(_read(books.by("bob", "sales"), position), 403, "permission_denied")
    late = books.send("GET", f"{TRIAL_BALANCE}?min_position={position + 10**6}", headers={"Prefer": "wait=1"})
    assert is_problem(late, 503, "projection_lagging")
    assert api.readiness()[1]["dependencies"]["clickhouse"]["ok"]


@pytest.mark.slow
def test_without_clickhouse_there_are_commands_and_no_reports(
    home: Home, api: Api, worker: Process, books: Books
) -> None:
    """503, and degraded; what was posted meanwhile is read afterwards."""
    first = books.post().json()["position"]
    assert _read(books, first).status_code == 200
    worker.kill()
    server = EmbeddedClickhouse(home.path)
    until(lambda: not server.is_alive(), "ClickHouse has ended with its last user")
    last = books.post().json()["position"]
    assert is_problem(books.send("GET", TRIAL_BALANCE), 503, "unavailable")
    assert api.readiness()[0] == 200
    assert api.readiness()[1]["status"] == "degraded"
    again = Process(home.path, "worker")
    try:
        until(lambda: _read(books, last).status_code == 200, "reports are answered again")
        assert _read(books, last).json()["totals"]["EUR"]["debit"] == "20.00"
    finally:
        again.end()
