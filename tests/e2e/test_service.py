"""What operators and their tools ask of a running system."""

import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.system import Api, Books, Home, postgres_stopped
from tests.waiting import until

pytestmark = pytest.mark.e2e

OPEN_TO_ALL = ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"]


@pytest.mark.parametrize("path", OPEN_TO_ALL)
def test_no_token_is_needed(api: Api, path: str) -> None:
    """And one that does not hold is no obstacle."""
    for headers in ({}, {"Authorization": "Bearer x"}):
        assert httpx.get(f"{api.url}{path}", headers=headers).status_code == 200
    head = httpx.head(f"{api.url}{path}")
    assert (head.status_code, head.content) == (200, b"")


def test_ready(api: Api) -> None:
    """Each dependency is named with its latency. Commands need no broker and no ClickHouse."""
    status, told = api.readiness()
    assert (status, told["status"]) == (200, "degraded")
    found = {name: (each["ok"], each["required"]) for name, each in told["dependencies"].items()}
    assert found == {"postgres": (True, True), "kafka": (False, False), "clickhouse": (False, False)}
    assert all(each["latency_ms"] >= 0 for each in told["dependencies"].values())


def test_not_ready(home: Home, api: Api) -> None:
    """Without Postgres: alive, not ready, naming Postgres, in bounded time; ready again without a restart."""
    with postgres_stopped(home):
        answer = httpx.get(f"{api.url}/health/ready", timeout=10)
        assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
        assert answer.json()["dependencies"]["postgres"]["ok"] is False
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{api.url}/health/live", timeout=10).status_code == 200
        assert httpx.get(f"{api.url}/metrics", timeout=10).status_code == 200
    until(api.is_ready, "ready again")


def test_metrics(api: Api, books: Books) -> None:
    """They can be read by Prometheus and count what was done, by route and not by path."""
    for _ in range(3):
        books.post()
    books.post(currency="XYZ")
    books.send("GET", "/v1/made/up/path")
    families = {family.name: family for family in text_string_to_metric_families(_metrics(api))}
    assert {"erp_http_requests", "erp_http_request_seconds", "erp_commands"} <= families.keys()
    before = _posted(api)
    books.post()
    assert _posted(api) == before + 1
    assert not re.search(rf"{books.name}|/made/up|alice", _metrics(api)), "labels without bound"


def test_docs_without_internet(api: Api) -> None:
    """The page, and everything that it loads, come from here."""
    page = httpx.get(f"{api.url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]", page.text)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    for each in loaded:
        assert each.startswith("/")
        assert httpx.get(f"{api.url}{each}").status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_description(api: Api) -> None:
    """OpenAPI 3.1 of every route that there is, and of none that is still to come."""
    told = httpx.get(f"{api.url}/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    paths = told["paths"]
    assert {
        "/v1/commands",
        "/v1/finance/journal-entries",
        "/v1/finance/periods/{period}/lock",
        "/v1/inventory/items",
        "/v1/sales/orders",
    } <= paths.keys()
    assert {"get", "post"} == paths["/v1/finance/journal-entries"].keys()
    assert not [path for path in paths if "/audit" in path]


def _metrics(api: Api) -> str:
    return httpx.get(f"{api.url}/metrics").text


def _posted(api: Api) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(_metrics(api))
        for sample in family.samples
        if sample.name == "erp_commands_total"
        and sample.labels == {"command": "finance.post_journal_entry", "outcome": "done"}
    )
