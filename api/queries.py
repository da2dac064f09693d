"""Queries over HTTP that read the event store: one thing, or a list in pages."""

from typing import Final

from api.auth import Caller, Gate
from api.call import Call
from api.params import cursor, cursor_position, limit, min_position, query_params
from api.ports import Store
from api.reply import NO_STORE, Reply, json_reply
from api.routing import ListRoute, Query, ViewRoute
from commands.errors import NotPermitted
from commands.ports import Vault

# Whatever reads the event store has seen every position already, so it is checked and no more.
_VIEW_PARAMS: Final = frozenset({"min_position"})
_LIST_PARAMS: Final = _VIEW_PARAMS | {"limit", "cursor"}


class ViewEndpoint:
    """The handler of GET of one thing."""

    def __init__(self, route: ViewRoute, gate: Gate, store: Store, vault: Vault) -> None:
        self._route = route
        self._gate = gate
        self._store = store
        self._vault = vault

    async def __call__(self, call: Call) -> Reply:
        """The thing as it is now, its version as ETag."""
        caller = await self._gate.caller(call)
        require(caller, self._route.permission)
        min_position(query_params(call, _VIEW_PARAMS))
        query = Query(self._store, self._vault, caller.tenant, caller.permissions, call.path_params)
        view = await self._route.view(query)
        return json_reply(200, view.body, (b"etag", b'"%d"' % view.version), NO_STORE)


class ListEndpoint:
    """The handler of GET of a list."""

    def __init__(self, route: ListRoute, gate: Gate, store: Store, vault: Vault) -> None:
        self._route = route
        self._gate = gate
        self._store = store
        self._vault = vault

    async def __call__(self, call: Call) -> Reply:
        """A page, and the cursor of the next one."""
        caller = await self._gate.caller(call)
        require(caller, self._route.permission)
        params = query_params(call, _LIST_PARAMS)
        min_position(params)
        after = cursor_position(self._route.kind, params["cursor"]) if "cursor" in params else 0
        query = Query(
            self._store,
            self._vault,
            caller.tenant,
            caller.permissions,
            call.path_params,
            limit=limit(params),
            after=after,
        )
        page = await self._route.page(query)
        following = None if page.next_after is None else cursor(self._route.kind, page.next_after)
        return json_reply(200, {"items": page.items, "next_cursor": following}, NO_STORE)


def require(caller: Caller, permission: str) -> None:
    """Make sure that the caller has the permission.

    Raises:
        NotPermitted: they have not.
    """
    if not caller.permissions.allow(permission):
        raise NotPermitted(f"This needs the permission {permission}.", permission=permission)
