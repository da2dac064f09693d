"""`erp sagas` and `erp dead-letters` where there is nothing yet, and what they refuse; what `erp verify` says
of vouchers that are dead letters.
"""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from erp.cli import cli
from erp.embedded.postgres import EmbeddedPostgres
from eventstore.migrate import migrate
from sagas.dead_letters import DeadLetters
from sagas.inventory_voucher import InventoryVoucher
from tests.sagas.orders.office import books, item, receive
from tests.sagas.orders.real_office import real_office

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


async def _receive_in_vain(url: str, times: int) -> None:
    """Goods come in, and no voucher can be made of it."""
    async with real_office(url) as office:
        await office.do(*books(office.now.year), item("A1"), *[receive("A1", "1", "2.00")] * times)
        for event in office.events()[-times:]:
            await DeadLetters(office.pool).park(InventoryVoucher.TOPIC, event, "ValueError: not this one")


def test_vouchers_that_are_dead_letters(verbs: CliRunner, home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        migrate(server.url)
        asyncio.run(_receive_in_vain(server.url, 7))
        parked = verbs.invoke(cli, ["verify"])
        assert parked.exit_code == 1
        account = "account 1405 says 0 EUR, its stock is worth 14.00 EUR"
        shown = "1, 2, 3, 4, 5 and 2 more: erp dead-letters show 1"
        assert f"{account} (parked as dead letter {shown})\n" in parked.output
        verbs.invoke(cli, ["dead-letters", "discard", "3", "--reason", "made by a test"])
        told = verbs.invoke(cli, ["verify"])
        assert told.exit_code == 1
        assert "(discarded as dead letter 3: erp dead-letters show 3)\n" in told.output
        assert "(parked as dead letter 1, 2, 4, 5, 6 and 1 more: erp dead-letters show 1)" in told.output
