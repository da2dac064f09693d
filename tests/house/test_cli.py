"""The command line: exit codes, one clear line for what can go wrong, and how far long work has come."""

import asyncio
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import click
import jwt
import psycopg
import pytest
from click.testing import CliRunner, Result

from erp import secrets
from erp.bootstrap import running_command_side
from erp.cli import VERBS, cli
from erp.cli.database import database
from erp.cli.progress import progress
from erp.embedded.postgres import EmbeddedPostgres, PostgresError
from erp.settings import Settings, load_settings

KEYS = json.dumps([{"kid": "a", "alg": "HS256", "key": "0123456789abcdefghijklmnopqrstuvwxyz"}])


def erp(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="erp")


def test_every_verb_can_be_asked_for_help() -> None:
    for verb in VERBS:
        answer = erp(verb, "--help")
        assert answer.exit_code == 0, answer.output
        assert "Usage: erp" in answer.output


def test_help_loads_neither_drivers_nor_a_server() -> None:
    script = "import sys, erp.cli; sys.exit(bool({'psycopg', 'uvicorn', 'starlette'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [("upp",), ("token",), ("api", "--port", "0"), ("tenant", "create", "x", "--timezone", "Mars")],
)
def test_wrong_usage_is_two(arguments: tuple[str, ...]) -> None:
    assert erp(*arguments).exit_code == 2


def test_a_wrong_setting_is_two_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_HTTP__PORT", "no")
    answer = erp("token", "--tenant", "demo", "--user", "alice")
    assert answer.exit_code == 2
    assert answer.stderr.startswith("erp: ERP_HTTP__PORT: ")
    assert answer.stderr.count("\n") == 1


def test_a_postgres_that_is_not_there_is_one_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "OWNER_URL"):
        monkeypatch.setenv(f"ERP_POSTGRES__{name}", "postgresql://127.0.0.1:1/erp")
    monkeypatch.setenv("ERP_AUTH__KEYS", KEYS)
    answer = erp("migrate")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("erp: Postgres: ")
    assert answer.stderr.count("\n") == 1


def test_the_last_line_of_token_is_a_token() -> None:
    answer = erp(
        "token", "--tenant", "demo", "--user", "alice", "--roles", "accountant, auditor", "--ttl-s", "60"
    )
    token = answer.stdout.splitlines()[-1]
    key = next(key for key in load_settings().auth.keys if key.kid == jwt.get_unverified_header(token)["kid"])
    claims = jwt.decode(token, key.key, algorithms=["EdDSA"])
    assert (claims["sub"], claims["tenant"], claims["roles"]) == ("alice", "demo", ["accountant", "auditor"])
    assert claims["exp"] - claims["iat"] == 60


def test_a_role_that_does_not_exist_gets_no_token() -> None:
    answer = erp("token", "--tenant", "demo", "--user", "alice", "--roles", "acountant")
    assert answer.exit_code == 2
    assert "'acountant' is no role; there are admin, " in answer.stderr
    assert answer.stdout == ""


def test_a_process_that_only_verifies_makes_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    public = load_settings().auth.keys[0].model_dump() | {"private_key": None}
    monkeypatch.setenv("ERP_POSTGRES__URL", "postgresql://db/erp")
    monkeypatch.setenv("ERP_AUTH__KEYS", json.dumps([public]))
    answer = erp("token", "--tenant", "demo", "--user", "alice")
    assert (answer.exit_code, answer.stderr) == (
        2,
        "erp: ERP_AUTH__KEYS: no key here can sign; give one a private_key\n",
    )


@pytest.mark.integration
def test_migrate_runs_postgres_for_its_own_duration_and_refuses_a_newer_schema(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_HOME", str(home))
    first, again = erp("migrate"), erp("migrate")
    assert first.exit_code == again.exit_code == 0
    assert "applied 0001" in first.output
    assert "applied" not in again.output
    assert not EmbeddedPostgres(home).is_alive()

    with EmbeddedPostgres(home) as server, psycopg.connect(server.url) as connection:
        connection.execute("INSERT INTO erp.migrations (number, name, sha256) VALUES (9999, 'later', '')")
    newer = erp("migrate")
    assert newer.exit_code == 1
    assert newer.stderr.startswith("erp: ")


def test_an_error_nobody_expected_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("erp.cli.token.token", broken)
    assert isinstance(erp("token").exception, RuntimeError)


def test_an_embedded_server_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_server: EmbeddedPostgres) -> None:
        raise PostgresError("Postgres does not start: no space left")

    monkeypatch.setattr(EmbeddedPostgres, "__enter__", refuse)
    answer = erp("migrate")
    assert (answer.exit_code, answer.stderr) == (1, "erp: Postgres does not start: no space left\n")


def test_progress_is_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress("entries", 5, stream=out) as advance:
        for _ in range(5):
            advance()
    lines = out.getvalue().splitlines()
    assert lines[-1].startswith("entries: 5 of 5 after ")
    assert 1 < len(lines) < 5
    assert "\x1b" not in out.getvalue()


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("entries", 5, stream=out) as advance:
        advance(5)
    assert "5/5" in out.getvalue()


@pytest.mark.integration
def test_another_master_key_than_the_one_in_use_is_one_line_at_the_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as nothing was sealed, any will do."""
    monkeypatch.setenv("ERP_HOME", str(home))
    assert erp("tenant", "create", "acme").exit_code == 0
    key = home / secrets.PERSONAL_FILE
    key.unlink()
    assert erp("tenant", "create", "acme").exit_code == 0

    async def seal(settings: Settings) -> None:
        async with running_command_side(settings) as side:
            tenant = await side.store.find_tenant("acme")
            assert tenant is not None
            await side.vault.seal(tenant, "c-1", {"name": "Erika"})

    settings = load_settings()
    with database(settings):
        asyncio.run(seal(settings))
    kept = key.read_text()
    key.unlink()
    for verb in (["tenant", "create", "acme"], ["api"]):
        answer = erp(*verb)
        assert (answer.exit_code, answer.stderr) == (
            2,
            "erp: ERP_PERSONAL__KEY: personal data was sealed under another master key\n",
        )
    key.write_text(kept)
    assert erp("tenant", "create", "acme").exit_code == 0
