"""The application: every route, put together from what it is given."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import AuthConfig, Gate, Tenants, TokenVerifier
from api.bulk import PATH as BULK_PATH
from api.bulk import BulkEndpoint
from api.call import Call
from api.commands import CommandEndpoint, Runner
from api.docs import docs_handlers
from api.edge import Edge
from api.errors import NotFound
from api.events import PATH as EVENTS_PATH
from api.events import EventStreams
from api.metrics import Metrics
from api.openapi import openapi
from api.ports import ApiSettings, Checks, CommandBus, Lifespan, ReadSide, Store
from api.queries import ListEndpoint, ViewEndpoint
from api.reply import Answering
from api.reports import Asker, ReportEndpoint, SearchEndpoint
from api.routing import ContextRoutes, Handler, HookRoute, Resource
from api.service import service_handlers
from commands.ports import Vault

DRAIN: Final = "erp.drain"
"""In the lifespan's state: to be called when the process is told to end, so that no stream holds it up."""


def create_app(
    *,
    settings: ApiSettings,
    auth: AuthConfig,
    bus: CommandBus,
    store: Store,
    vault: Vault,
    read_side: ReadSide,
    tenants: Tenants,
    contexts: Sequence[ContextRoutes],
    checks: Checks,
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """The HTTP application.

    Args:
        settings: limits.
        auth: keys that tokens are verified with.
        bus: carries out commands.
        store: what queries of the current state read.
        vault: opens personal data in them.
        read_side: what reports read.
        tenants: finds tenants by name; expected to remember them, since every request asks.
        contexts: the routes, context by context.
        checks: signs of life of what this depends on, by name, for readiness.
        lifespan: entered before the first request; left when the last command has ended.
    """
    metrics = Metrics()
    runner = Runner(bus, metrics)
    gate = Gate(TokenVerifier(auth), tenants)
    commands = [route for context in contexts for route in context.commands]

    handlers: dict[str, dict[str, Handler]] = {}
    for command in commands:
        handlers.setdefault(command.path, {})[command.method] = CommandEndpoint(
            command, gate, runner, settings
        )
    for view in (view for context in contexts for view in context.views):
        handlers.setdefault(view.path, {})["GET"] = ViewEndpoint(view, gate, store, vault)
    for each in (each for context in contexts for each in context.lists):
        handlers.setdefault(each.path, {})["GET"] = ListEndpoint(each, gate, store, vault)
    asker = Asker(gate, store, read_side)
    for report in (report for context in contexts for report in context.reports):
        handlers.setdefault(report.path, {})["GET"] = ReportEndpoint(report, asker)
    for search in (search for context in contexts for search in context.searches):
        handlers.setdefault(search.path, {})["GET"] = SearchEndpoint(search, asker)
    for hook in (hook for context in contexts for hook in context.hooks):
        handlers.setdefault(hook.path, {})["POST"] = _hooked(hook, runner, settings)
    handlers[BULK_PATH] = {"POST": BulkEndpoint(commands, gate, runner, settings)}
    streams = EventStreams(gate, store, metrics, settings)
    handlers[EVENTS_PATH] = {"GET": streams}
    document = openapi(contexts, version=settings.version)
    for path, handler in {
        **service_handlers(checks, metrics, read_side, settings),
        **docs_handlers(document),
    }.items():
        handlers[path] = {"GET": handler}

    resources = {path: Resource(path, methods) for path, methods in handlers.items()}
    router = Router(
        [Route(path, resource, name=path) for path, resource in resources.items()],
        redirect_slashes=False,
        default=_nothing_here,
        lifespan=_lifespan(lifespan, runner, (streams.drain, read_side.drain)),
    )
    return Edge(_straight_to(resources, router), metrics, in_flight_max=settings.in_flight_max)


def _hooked(route: HookRoute, runner: Runner, settings: ApiSettings) -> Handler:
    async def take(call: Call) -> Answering:
        return await route.handler(call, runner.run, settings)

    return take


def _straight_to(resources: Mapping[str, ASGIApp], router: ASGIApp) -> ASGIApp:
    """A path without parameters needs no router to be found, and most commands have such paths."""
    fixed = {path: resource for path, resource in resources.items() if "{" not in path}

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        resource = fixed.get(scope["path"]) if scope["type"] == "http" else None
        if resource is None:
            await router(scope, receive, send)
        else:
            scope["path_params"] = {}
            await resource(scope, receive, send)

    return dispatch


def _lifespan(
    outer: Lifespan | None, runner: Runner, drains: Sequence[Callable[[], None]]
) -> Callable[[object], AbstractAsyncContextManager[dict[str, Any]]]:
    def drain() -> None:
        for each in drains:
            each()

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            if outer is not None:
                await stack.enter_async_context(outer())
            # Last in, first out: commands end before what they stand on goes away.
            stack.push_async_callback(runner.drain)
            yield {DRAIN: drain}

    return lifespan


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    raise NotFound("There is nothing at this path.")
