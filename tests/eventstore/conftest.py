"""A store over an aggregate of its own, in a tenant made for the test."""

from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest

from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore, StoreOptions
from eventstore.tenants import register_tenant
from tests.eventstore.tally import Tally

MakeTenant = Callable[[], UUID]


@pytest.fixture(scope="session")
def app_url(postgres_url: str) -> str:
    """The application's URL: row-level security applies."""
    return with_user(postgres_url, "erp_app")


@pytest.fixture(scope="session")
def reader_url(postgres_url: str) -> str:
    """The reader's URL: sees every tenant, changes nothing."""
    return with_user(postgres_url, "erp_reader")


@pytest.fixture(scope="session")
def make_tenant(postgres_url: str) -> MakeTenant:
    """Makes a tenant with nothing in it."""

    def make() -> UUID:
        name = f"t{uuid4().hex}"
        return register_tenant(postgres_url, name, base_currency="EUR", time_zone="UTC")[0].tenant

    return make


@pytest.fixture
def tenant(make_tenant: MakeTenant) -> UUID:
    """A tenant with nothing in it."""
    return make_tenant()


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[EventStore]:
    """A store that takes a snapshot every ten events."""
    async with EventStore(app_url, Codec([Tally]), StoreOptions(snapshot_every_events=10)) as opened:
        yield opened
