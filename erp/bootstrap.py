"""Builds the running parts from settings: the event store, the command bus over it, the API over both."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from uuid import UUID

from starlette.types import ASGIApp
from uuid_utils.compat import uuid7

from api import app
from api.ports import ApiSettings
from commands.bus import Bus
from erp.contexts import CONTEXTS, aggregates, handlers
from erp.settings import Settings, load_settings
from erp.tokens import auth_config
from eventstore.codec import Codec
from eventstore.store import EventStore, StoreOptions


@dataclass(frozen=True, slots=True)
class CommandSide:
    """What carries out commands."""

    store: EventStore
    bus: Bus


def command_side(settings: Settings) -> CommandSide:
    """The command side, not yet connected: enter `store` to do so."""
    options = StoreOptions(
        cache_bytes_max=settings.store.cache_bytes_max,
        snapshot_every_events=settings.store.snapshot_every,
        batch_requests_max=settings.store.batch_requests_max,
        pool_size_max=settings.postgres.pool_size_max,
    )
    store = EventStore(settings.postgres.need("url"), Codec(aggregates()), options)
    attempts_max = settings.store.conflict_retries_max + 1
    return CommandSide(store, Bus(store, handlers(), new_id=uuid7, attempts_max=attempts_max))


@asynccontextmanager
async def running_command_side(settings: Settings) -> AsyncIterator[CommandSide]:
    """The command side, connected for the duration."""
    side = command_side(settings)
    async with side.store:
        yield side


def create_app() -> ASGIApp:
    """The HTTP application, as the environment says. It connects when it is started."""
    settings = load_settings()
    side = command_side(settings)
    return app.create_app(
        settings=ApiSettings(
            version=version("killer-erp"),
            in_flight_max=settings.http.in_flight_max,
            body_bytes_max=settings.http.body_bytes_max,
        ),
        auth=auth_config(settings),
        bus=side.bus,
        store=side.store,
        tenants=_remembering(side.store.find_tenant),
        contexts=[context.routes for context in CONTEXTS],
        checks={"postgres": side.store.ping},
        lifespan=lambda: side.store,
    )


def _remembering(find: Callable[[str], Awaitable[UUID | None]]) -> Callable[[str], Awaitable[UUID | None]]:
    """Asks once for each tenant that there is: neither its name nor its id ever changes."""
    known: dict[str, UUID] = {}

    async def found(name: str) -> UUID | None:
        tenant = known.get(name) or await find(name)
        if tenant is not None:
            known[name] = tenant
        return tenant

    return found
