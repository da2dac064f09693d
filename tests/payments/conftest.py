"""A company that takes payments, kept in the real store, and its bank."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from commands.payments import HANDLERS, Till
from domain.payments.payment import Payment
from erp.gateways.stripe import StripeGateway
from tests.dsl import Company
from tests.payments.bank import Bank
from tests.payments.stripe_server import KEY, Account, StripeServer, stripe_server


@pytest.fixture
def bank() -> Bank:
    """The gateway of the company."""
    return Bank()


@pytest.fixture
def till(bank: Bank) -> Till:
    """What carries out the commands of payments."""
    return Till(bank)


@pytest.fixture
async def company(postgres_url: str, till: Till) -> AsyncIterator[Company]:
    """A company that nobody has paid yet."""
    from erp.embedded.address import with_user
    from eventstore.codec import Codec
    from eventstore.store import EventStore
    from eventstore.tenants import register_tenant
    from eventstore.vault import Vault

    made, _ = register_tenant(postgres_url, f"t{uuid4().hex}", base_currency="EUR", time_zone="UTC")
    async with EventStore(with_user(postgres_url, "erp_app"), Codec([Payment])) as store:
        vault = Vault(store.rows, bytes(32))
        yield Company(store, HANDLERS, made.tenant, till.procedures(), vault=vault)


@pytest.fixture(scope="session")
def stripe_api() -> Iterator[StripeServer]:
    """What answers as Stripe does."""
    with stripe_server() as served:
        yield served


@pytest.fixture
def account(stripe_api: StripeServer) -> Account:
    """An account there, with nothing in it."""
    return stripe_api.opened()


@pytest.fixture
async def stripe(account: Account) -> AsyncIterator[StripeGateway]:
    """The gateway to it, soon out of patience."""
    gateway = StripeGateway(KEY, url=account.url, timeout_s=0.3)
    yield gateway
    await gateway.aclose()
