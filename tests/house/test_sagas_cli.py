"""`erp sagas` and `erp dead-letters` where there is nothing yet, and what they refuse."""

from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from erp.cli import cli
from erp.embedded.postgres import EmbeddedPostgres
from eventstore.migrate import migrate

pytestmark = pytest.mark.e2e


@pytest.fixture
def verbs(home: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("ERP_HOME", str(home))
    return CliRunner()


def test_where_there_is_nothing(verbs: CliRunner, home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        migrate(server.url)
        for verb in (["sagas", "list"], ["sagas", "list", "--status", "waiting"], ["dead-letters", "list"]):
            assert verbs.invoke(cli, verb).output == ""
            assert verbs.invoke(cli, [*verb, "--json"]).output == "[]\n"
        nobody = str(uuid4())
        for verb in (["show"], ["retry"], ["abort", "--reason", "none"]):
            answer = verbs.invoke(cli, ["sagas", verb[0], nobody, *verb[1:]])
            assert (answer.exit_code, answer.output) == (1, f"erp: {nobody} is no saga\n")
        for verb in (["show", "7"], ["retry", "7"], ["discard", "7", "--reason", "none"]):
            answer = verbs.invoke(cli, ["dead-letters", *verb])
            assert answer.exit_code == 1
            assert "letter 7" in answer.output


@pytest.mark.parametrize(
    "verb", [["sagas", "abort", str(uuid4())], ["dead-letters", "discard", "1"]], ids=lambda verb: verb[0]
)
def test_a_reason_is_asked_for(verbs: CliRunner, verb: list[str]) -> None:
    for reason in ([], ["--reason", " "]):
        answer = verbs.invoke(cli, [*verb, *reason])
        assert answer.exit_code == 2
        assert "--reason" in answer.output
