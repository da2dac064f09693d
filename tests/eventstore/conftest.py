"""A store over an aggregate of its own, in a tenant made for the test; a database of its own where the
log must be alone.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import UUID, uuid4

import pytest

from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore, StoreOptions
from eventstore.tenants import register_tenant
from tests.eventstore.proxy import Proxy
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
    return lambda: new_tenant(postgres_url)


@pytest.fixture
def tenant(make_tenant: MakeTenant) -> UUID:
    """A tenant with nothing in it."""
    return make_tenant()


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[EventStore]:
    """A store that takes a snapshot every ten events."""
    async with EventStore(app_url, Codec([Tally]), StoreOptions(snapshot_every_events=10)) as opened:
        yield opened


@pytest.fixture
async def proxy(app_url: str) -> AsyncIterator[Proxy]:
    """Stands between the application and Postgres, and breaks what is to be broken."""
    query = parse_qs(urlsplit(app_url).query)
    # Not tmp_path: the path of a Unix socket must be short.
    with TemporaryDirectory(prefix="erp-proxy-", ignore_cleanup_errors=True) as folder:
        server = Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}"
        async with Proxy(server, Path(folder)) as standing:
            yield standing


@pytest.fixture
def proxied_url(app_url: str, proxy: Proxy) -> str:
    """The application's URL, by way of the proxy."""
    parts = urlsplit(app_url)
    return urlunsplit(parts._replace(query=f"host={proxy.folder}&port={proxy.port}"))


def new_tenant(owner_url: str) -> UUID:
    """A tenant with nothing in it, in any database."""
    return register_tenant(owner_url, f"t{uuid4().hex}", base_currency="EUR", time_zone="UTC")[0].tenant
