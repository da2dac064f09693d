"""What is looked at from outside: whether the books say what the stock is worth, and who lacks accounts."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from commands.finance import CloseAccount
from erp.embedded.address import with_user
from erp.mapping_check import Lack, lacks
from erp.stock_books import SetAside, add_up
from eventstore.tenants import Tenant
from eventstore.verify import count_events
from sagas.dead_letters import DeadLetters
from sagas.inventory_voucher import InventoryVoucher
from tests.sagas.orders.office import Office, books, item, receive
from tests.sagas.orders.real_office import real_office


async def lacking(office: Office) -> list[Lack]:
    company = Tenant(office.tenant, "acme", "EUR", "UTC", datetime.now(UTC))
    return [each async for each in lacks(office.store, [company])]


async def test_a_company_that_lacks_nothing(office: Office) -> None:
    assert await lacking(office) == []


async def test_a_company_without_a_mapping(empty_office: Office) -> None:
    assert await lacking(empty_office) == [Lack("acme", "it has no account mapping")]


async def test_a_company_with_a_closed_account(office: Office) -> None:
    await office.do(CloseAccount(code="6402"))
    assert await lacking(office) == [Lack("acme", "Account 6402 is closed.")]


@pytest.mark.integration
async def test_stock_and_books_as_the_reader_sees_them(own_url: str) -> None:
    reader = with_user(own_url, "erp_reader")
    async with real_office(own_url) as office:
        await office.do(*books(office.now.year), item("A1"), receive("A1", "2", "3.00"))
        passed: list[int] = []
        early = add_up(reader, office.codec, count_events(reader), passed.append)
        assert [(each.waiting, each.is_explained) for each in early.differences()] == [
            (Decimal("6.00"), True)
        ]
        assert sum(passed) == count_events(reader)
        await office.settle()
        added = add_up(reader, office.codec, count_events(reader))
        assert (list(added.differences()), added.companies) == ([], 1)


@pytest.mark.integration
async def test_dead_letters_as_the_reader_sees_them(own_url: str) -> None:
    reader = with_user(own_url, "erp_reader")
    async with real_office(own_url) as office:

        def found() -> list[tuple[Decimal, tuple[SetAside, ...]]]:
            added = add_up(reader, office.codec, count_events(reader))
            return [(each.waiting, each.set_aside) for each in added.differences()]

        await office.do(*books(office.now.year), item("A1"), receive("A1", "2", "3.00"))
        letters, received = DeadLetters(office.pool), office.events()[-1]
        on_its_way = [(Decimal("6.00"), ())]
        await letters.park("sagas.of_another_kind", received, "ValueError: not this one")
        assert found() == on_its_way
        await letters.park(InventoryVoucher.TOPIC, received, "ValueError: not this one")
        _, parked = sorted(await letters.list())
        assert found() == [(Decimal(0), (SetAside(parked.letter, is_parked=True),))]
        await letters.settle(parked)
        assert found() == on_its_way
        await letters.park(InventoryVoucher.TOPIC, received, "ValueError: not this one")
        _, parked = sorted(await letters.list())
        await letters.discard(parked.letter, by="olga", reason="made by a test")
        assert found() == [(Decimal(0), (SetAside(parked.letter, is_parked=False),))]
