"""`erp projections …`, as a person types it: exit codes, one line for what can go wrong, what is told."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from erp.cli import cli
from erp.contexts import projections
from erp.embedded.clickhouse import EmbeddedClickhouse
from erp.embedded.postgres import EmbeddedPostgres
from projections.clickhouse import ClickHouse

NAMES = {each.name for each in projections()}


def erp(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, arguments, prog_name="erp")
    assert result.exit_code == code, (result.output, result.exception)
    if code == 1:
        assert [line for line in result.stderr.splitlines() if line.startswith("erp: ")], result.stderr
    return result


def complaint(*arguments: str) -> str:
    """The one line of a verb that did not work."""
    (line,) = [
        line
        for line in erp("projections", *arguments, code=1).stderr.splitlines()
        if line.startswith("erp: ")
    ]
    return line


def told() -> dict[str, dict[str, Any]]:
    """What `list` says of each projection; of several generations the one that answers."""
    lines = json.loads(erp("projections", "list", "--json").stdout)
    return {line["name"]: line for line in reversed(lines)}


@pytest.fixture
def servers(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedClickhouse]:
    """They run already, as under `erp up`, but for a worker."""
    monkeypatch.setenv("ERP_HOME", str(home))
    with EmbeddedPostgres(home), EmbeddedClickhouse(home) as clickhouse:
        yield clickhouse


def forge(server: EmbeddedClickhouse, statement: str) -> None:
    async def change() -> None:
        async with ClickHouse(lambda: server.url) as clickhouse:
            await clickhouse.command(statement)

    asyncio.run(change())


@pytest.mark.integration
def test_a_read_side_without_a_worker(servers: EmbeddedClickhouse) -> None:
    assert {line["status"] for line in told().values()} == {"waiting"}
    erp("tenant", "create", "demo")
    assert complaint("verify").endswith(": nothing answers yet; see `erp projections list`")
    built = erp("projections", "rebuild", "--all")
    assert "bringing the log copy up" in built.stderr
    assert f"rebuilding {len(NAMES)} projections" in built.stderr
    assert built.stdout.count(" new\n") == len(NAMES)
    lines = told()
    assert lines.keys() == {"log", *NAMES}
    assert {line["status"] for line in lines.values()} == {"serving"}
    head = lines["log"]["position"]
    assert lines["finance_accounts"]["position"] == head > 10
    assert (lines["finance_daily_balances"]["position"], lines["finance_daily_balances"]["lag_events"]) == (
        0,
        0,
    )
    assert lines["finance_accounts"]["rows"] > 10
    assert f"finance_accounts_g1: as the log copy has it, up to {head}" in erp("projections", "verify").stdout
    listed = erp("projections", "list").stdout.splitlines()
    assert listed[0].split()[:3] == ["projection", "status", "generation"]
    assert len(listed) == len(NAMES) + 2

    again = erp("projections", "rebuild", "finance_accounts", "--keep-old").stdout
    assert again.splitlines()[1].split()[:4] == ["finance_accounts", "1", "->", "2"]
    assert again.endswith(" same\n")
    assert "generation 1 answers" in erp("projections", "rollback", "finance_accounts").stdout
    assert "generation 2 answers" in erp("projections", "rollback", "finance_accounts").stdout
    assert complaint("rollback", "finance_lines").startswith(
        "erp: finance_lines has no generation to go back to"
    )

    forge(servers, "INSERT INTO log SELECT * REPLACE ('{}' AS data) FROM log FINAL ORDER BY position LIMIT 1")
    assert complaint("verify") == f"erp: log copy, positions 1 to {head}: event 1 has another data"
    mended = erp("projections", "rebuild", "--all", "--from-store")
    assert f"log copy: {head} of {head} events were fetched from the store" in mended.stderr
    assert mended.stdout.count(" same\n") == len(NAMES)
    forge(servers, "ALTER TABLE finance_accounts_g3 DELETE WHERE code LIKE '1%' SETTINGS mutations_sync = 2")
    assert complaint("verify", "finance_accounts").startswith(
        f"erp: finance_accounts_g3, positions 1 to {head}: "
    )
    erp("projections", "verify", "finance_lines")

    assert complaint("discard", "3", "finance_lines", "--reason", "a test").startswith(
        "erp: event 3 does not stop finance_lines; what does: none"
    )
    assert "--yes" in erp("projections", "reset", code=2).stderr
    assert erp("projections", "reset", "--yes").stdout.startswith(f"{len(NAMES)} tables are dropped")
    assert {line["status"] for line in told().values()} == {"waiting"}
    erp("projections", "rebuild", "--all")
    erp("projections", "verify")


@pytest.mark.parametrize(
    "arguments",
    [
        ("rebuild",),
        ("rebuild", "--all", "finance_lines"),
        ("rebuild", "finance_line"),
        ("verify", "lines"),
        ("rollback",),
        ("discard", "0", "finance_lines", "--reason", "x"),
        ("discard", "1", "finance_lines"),
        ("discard", "1", "finance_lines", "--reason", " "),
    ],
)
def test_wrong_usage_is_two(arguments: tuple[str, ...]) -> None:
    erp("projections", *arguments, code=2)


def test_a_deployment_is_told_that_clickhouse_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_POSTGRES__URL", "postgresql://erp_app@127.0.0.1:1/erp")
    monkeypatch.setenv(
        "ERP_AUTH__KEYS",
        json.dumps([{"kid": "a", "alg": "HS256", "key": "0123456789abcdefghijklmnopqrstuvw"}]),
    )
    answer = erp("projections", "list", code=2)
    assert answer.stderr == "erp: ERP_CLICKHOUSE__URL is missing and this command needs it\n"
