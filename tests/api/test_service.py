"""Health, metrics, and the description of the API."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.finance import FINANCE
from api.ports import ApiSettings, Check
from domain.shared.errors import DomainError
from projections.reading import Lag
from tests.api.world import ENTRIES, NDJSON, World, entry, line


def anonymous(world: World) -> httpx.AsyncClient:
    client = world.client()
    del client.headers["Authorization"]
    return client


async def well() -> None:
    """A dependency that answers."""


async def ill() -> None:
    raise ConnectionError("postgres://user:password@host")


async def silent() -> None:
    await asyncio.sleep(60)


async def test_alive_is_alive_whatever_else_is_not():
    """Liveness asks nobody, so that no restart is made for a dependency's sake."""
    async with anonymous(World(checks={"postgres": Check(ill)})) as client:
        answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


WELL, ILL, SILENT = Check(well), Check(ill), Check(silent)
MAY_BE_ILL = Check(ill, required=False)


@pytest.mark.parametrize(
    ("checks", "status", "word"),
    [
        ({"a": WELL}, 200, "ready"),
        ({"a": WELL, "b": ILL}, 503, "not_ready"),
        ({"b": SILENT}, 503, "not_ready"),
        ({"a": WELL, "b": Check(well, required=False)}, 200, "ready"),
        ({"a": WELL, "b": MAY_BE_ILL}, 200, "degraded"),
        ({"a": ILL, "b": MAY_BE_ILL}, 503, "not_ready"),
    ],
)
async def test_ready_tells_each_dependency_with_its_latency(checks, status, word):
    """A required one that is down or does not answer in time makes the whole not ready, another one degraded;
    why is for the log.
    """
    async with anonymous(World(checks=checks, settings=ApiSettings(check_timeout_s=0.05))) as client:
        answer = await client.get("/health/ready")
    told = answer.json()
    assert answer.status_code == status
    assert told["status"] == word
    assert {name: (each["ok"], each["required"]) for name, each in told["dependencies"].items()} == {
        name: (check.ask is well, check.required) for name, check in checks.items()
    }
    assert all(0 <= each["latency_ms"] < 1000 for each in told["dependencies"].values())
    assert "password" not in answer.text


async def test_what_is_counted(world):
    """Requests by route template, never by path; commands by outcome, in bulk too."""

    class No(DomainError):
        code = "finance.no"

    async def behaviour(command, context):
        if getattr(command, "memo", "") == "no":
            raise No("No.")

    world.bus.behaviour = behaviour
    async with world.client() as client:
        await client.post(ENTRIES, json=entry())
        await client.post(ENTRIES, json=entry(memo="no"))
        await client.post("/v1/commands", content=line(entry()) + line(entry()), headers=NDJSON)
        await client.get("/v1/finance/accounts/1122")
        await client.request("BREW", "/coffee")
        metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = metrics.text.splitlines()
    assert f'erp_http_requests_total{{method="POST",route="{ENTRIES}",status="201"}} 1.0' in lines
    assert f'erp_http_requests_total{{method="POST",route="{ENTRIES}",status="422"}} 1.0' in lines
    assert (
        'erp_http_requests_total{method="GET",route="/v1/finance/accounts/{code}",status="404"} 1.0' in lines
    )
    assert 'erp_http_requests_total{method="other",route="unmatched",status="404"} 1.0' in lines
    assert 'erp_commands_total{command="finance.post_journal_entry",outcome="done"} 3.0' in lines
    assert 'erp_commands_total{command="finance.post_journal_entry",outcome="finance.no"} 1.0' in lines
    assert f'erp_http_request_seconds_count{{method="POST",route="{ENTRIES}"}} 2.0' in lines
    # The request that asks is in flight itself.
    assert "erp_http_requests_in_flight 1.0" in lines


async def test_how_far_the_read_side_is_is_told_with_what_is_counted(world):
    """Per projection, and for the log copy; when it cannot be told all the rest is."""
    world.read_side.found = [
        Lag("log", 54, is_serving=True, blocked_by=None, events=0, seconds=0.0),
        Lag("tallies", 50, is_serving=True, blocked_by=51, events=4, seconds=1.5),
    ]
    async with anonymous(world) as client:
        lines = (await client.get("/metrics")).text.splitlines()
        world.read_side.refusal = ConnectionError("no")
        without = await client.get("/metrics")
    for name, log, tallies in (
        ("position", 54.0, 50.0),
        ("serving", 1.0, 1.0),
        ("blocked", 0.0, 1.0),
        ("lag_events", 0.0, 4.0),
        ("lag_seconds", 0.0, 1.5),
    ):
        assert f'erp_projection_{name}{{projection="log"}} {log}' in lines
        assert f'erp_projection_{name}{{projection="tallies"}} {tallies}' in lines
    assert without.status_code == 200
    assert "erp_http_requests_in_flight" in without.text
    assert "erp_projection_" not in without.text


def test_several_workers_report_one_sum(tmp_path: Path):
    """With PROMETHEUS_MULTIPROC_DIR, what one process counted another one reports."""
    count = "from api.metrics import Metrics; m = Metrics(); m.command_ended('c', 'done'); "
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for code in (count, count + "print(m.exposition().decode())"):
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        )
    assert 'erp_commands_total{command="c",outcome="done"} 2.0' in ran.stdout.splitlines()


async def test_the_description_has_every_route_and_nothing_else(world):
    """OpenAPI 3.1."""
    async with anonymous(world) as client:
        document = (await client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, each in document["paths"].items() for method in each}
    routed = {(route.method, route.path) for route in FINANCE.commands}
    routed |= {("GET", view.path) for view in FINANCE.views} | {("GET", each.path) for each in FINANCE.lists}
    routed |= {("GET", report.path) for report in FINANCE.reports}
    routed |= {("GET", search.path) for search in FINANCE.searches}
    service = {("GET", path) for path in ("/health/live", "/health/ready", "/metrics")}
    assert described == routed | service | {("POST", "/v1/commands"), ("GET", "/v1/events")}


async def test_every_reference_in_the_description_leads_somewhere(world):
    """And path parameters are described as strictly as they are checked."""
    async with anonymous(world) as client:
        document = (await client.get("/openapi.json")).json()

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    for reference in set(references(document)):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    close = document["paths"]["/v1/finance/periods/{period}/close"]["post"]
    (period,) = (each for each in close["parameters"] if each.get("in") == "path")
    assert period["schema"]["pattern"] == "^[0-9]{4}-(0[1-9]|1[0-2])$"
    assert close["requestBody"]["required"] is False
    assert "period" not in close["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"400", "401", "403", "404", "409", "412", "413", "415", "422", "429", "503"} < set(
        close["responses"]
    )


async def test_the_page_for_people_needs_no_internet(world):
    """Everything it loads is served here, and its policy allows nothing else."""
    async with anonymous(world) as client:
        page = await client.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "http" not in page.text
        for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
            assert f"/docs/{asset}" in page.text
            assert (await client.get(f"/docs/{asset}")).status_code == 200
        for_page = (await client.get("/docs/openapi.json")).json()
    # The bundled page reads 3.0 only, which has no null type.
    assert for_page["openapi"] == "3.0.3"
    assert "'type': 'null'" not in str(for_page)


async def test_the_lifespan_opens_and_closes_what_it_is_given():
    """What the application stands on is there from the first request to the last."""
    from contextlib import asynccontextmanager

    from api.app import create_app
    from tests.api.world import AUTH, MemoryReadSide, MemoryStore, OpenVault, RecordingBus, find_tenant

    seen = []

    @asynccontextmanager
    async def lifespan():
        seen.append("opened")
        yield
        seen.append("closed")

    app = create_app(
        settings=ApiSettings(),
        auth=AUTH,
        bus=RecordingBus(),
        store=MemoryStore(),
        vault=OpenVault(),
        read_side=MemoryReadSide(),
        tenants=find_tenant,
        contexts=[FINANCE],
        checks={},
        lifespan=lifespan,
    )
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive():
        return next(messages)

    async def send(message):
        seen.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)
    assert seen == ["opened", "lifespan.startup.complete", "closed", "lifespan.shutdown.complete"]


async def test_a_websocket_is_turned_away(world):
    """There are none."""
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await world.app({"type": "websocket", "path": "/v1/commands", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close"}]
