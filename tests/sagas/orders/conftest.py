"""A company whose sagas run: in memory, and on the real store."""

from collections.abc import AsyncIterator

import pytest

from tests.sagas.orders.office import Office, books, item, receive
from tests.sagas.orders.real_office import real_office


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def empty_office(request: pytest.FixtureRequest) -> AsyncIterator[Office]:
    """Its books are open, but nobody has said which account is which."""
    if request.param == "memory":
        made = Office()
        await made.do(*books(made.now.year, with_mapping=False))
        yield made
        return
    async with real_office(request.getfixturevalue("own_url")) as made:
        await made.do(*books(made.now.year, with_mapping=False))
        yield made


@pytest.fixture
async def office(empty_office: Office) -> Office:
    """Ten A1 at 4.00 and five B2 at 1.25 are in stock."""
    await empty_office.do(books()[-1], item("A1"), item("B2", "moving_average"))
    await empty_office.do(receive("A1", "10", "4.00"), receive("B2", "5", "1.25"))
    return empty_office
