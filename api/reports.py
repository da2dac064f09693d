"""Reports over HTTP: questions to the read side, answered as JSON or CSV from where they are to stand."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import orjson
from pydantic import ValidationError

from api.auth import Caller, Gate
from api.call import Call
from api.csv_text import csv_text
from api.errors import KnownAtInFuture, NotFound, ProjectionLagging
from api.negotiation import media_type
from api.params import cursor, cursor_position, limit, min_position, query_params, wait_s
from api.ports import ReadSide, Store
from api.queries import require
from api.reply import JSON, NO_STORE, Header, Reply
from api.report_routes import ReportParams, ReportRoute, SearchRoute
from api.routing import invalid
from eventstore import store as eventstore
from projections.reading import Answered, Lagging

P = TypeVar("P", bound=ReportParams)

JSON_TYPE: Final = "application/json"
CSV_TYPE: Final = "text/csv"
_CSV: Final[Header] = (b"content-type", b"text/csv; charset=utf-8; header=present")
_VARY: Final[Header] = (b"vary", b"accept")
# Others on the event loop need not wait while a large one is put into words.
_ROWS_INLINE_MAX: Final = 200


class Asker:
    """Asks the read side for somebody who may."""

    def __init__(self, gate: Gate, store: Store, read_side: ReadSide) -> None:
        self._gate = gate
        self._store = store
        self._read_side = read_side

    async def caller(self, call: Call, permission: str) -> Caller:
        """Who calls.

        Raises:
            Unauthenticated, UnknownTenant, NotPermitted: nobody who may.
        """
        caller = await self._gate.caller(call)
        require(caller, permission)
        return caller

    async def ask(
        self,
        call: Call,
        caller: Caller,
        route: ReportRoute | SearchRoute,
        given: Mapping[str, str],
        params: ReportParams,
        **more: Any,
    ) -> Answered:
        """The answer, from where the request wants it to stand.

        Raises:
            ProjectionLagging: the read side is not there in time.
            KnownAtInFuture: that instant has not come.
        """
        try:
            return await self._read_side.ask(
                route.query,
                caller.tenant,
                min_position=min_position(given),
                known_at=getattr(params, "known_at", None),
                wait_s=wait_s(call) or 0,
                **params.arguments(),
                **more,
            )
        except Lagging as lagging:
            raise ProjectionLagging(lagging.position) from None
        except eventstore.KnownAtInFuture:
            raise KnownAtInFuture("What will be known at that instant cannot be told yet.") from None

    async def completed(self, params: P, caller: Caller) -> P:
        """The parameters, with what follows from the tenant's state where the client left it out."""
        return await params.completed(self._store, caller.tenant)


class ReportEndpoint:
    """The handler of GET of a report."""

    def __init__(self, route: ReportRoute, asker: Asker) -> None:
        self._route = route
        self._asker = asker

    async def __call__(self, call: Call) -> Reply:
        """The report, in the form that the client likes best."""
        route = self._route
        caller = await self._asker.caller(call, route.permission)
        render = self._csv if media_type(call, (JSON_TYPE, CSV_TYPE)) == CSV_TYPE else self._json
        given, params = parsed(call, route.params)
        params = await self._asker.completed(params, caller)
        answered = await self._asker.ask(call, caller, route, given, params)
        rows = route.rows(answered.answer)
        if len(rows) > _ROWS_INLINE_MAX:
            body, headers = await asyncio.to_thread(render, answered, params, rows)
        else:
            body, headers = render(answered, params, rows)
        return Reply(200, body, [*headers, *_standing(call, answered), _VARY, NO_STORE])

    def _json(self, answered: Answered, params: ReportParams, _: Sequence[Any]) -> tuple[bytes, list[Header]]:
        answer = {each.name: getattr(answered.answer, each.name) for each in fields(answered.answer)}
        told = {**params.told(), "position": answered.position, **answer}
        if answered.discarded:
            told["discarded_events"] = answered.discarded
        return orjson.dumps(told, option=orjson.OPT_UTC_Z), [JSON]

    def _csv(self, _: Answered, __: ReportParams, rows: Sequence[Any]) -> tuple[bytes, list[Header]]:
        return _file(self._route.file_name, self._route.row, rows)


class SearchEndpoint:
    """The handler of GET of a list out of the read side."""

    def __init__(self, route: SearchRoute, asker: Asker) -> None:
        self._route = route
        self._asker = asker

    async def __call__(self, call: Call) -> Reply:
        """A page, and the cursor of the next one."""
        route = self._route
        caller = await self._asker.caller(call, route.permission)
        wants_csv = media_type(call, (JSON_TYPE, CSV_TYPE)) == CSV_TYPE
        given, params = parsed(call, route.params, "limit", "cursor")
        after = cursor_position(route.kind, given["cursor"]) if "cursor" in given else 0
        more = {"limit": limit(given), "after": after}
        answered = await self._asker.ask(call, caller, route, given, params, **more)
        page = answered.answer
        following = None if page.next_after is None else cursor(route.kind, page.next_after)
        standing = [*_standing(call, answered), _VARY, NO_STORE]
        if wants_csv:
            body, headers = _file(route.file_name, route.item, page.items)
            return Reply(200, body, [*headers, *_next(given, following), *standing])
        told = {"items": page.items, "next_cursor": following}
        return Reply(200, orjson.dumps(told, option=orjson.OPT_UTC_Z), [JSON, *standing])


def parsed(call: Call, model: type[P], *more: str) -> tuple[Mapping[str, str], P]:
    """The query parameters as they are given, and those of the report, path included, checked.

    Raises:
        NotFound: nothing can have such a name as the path says.
        InvalidRequest: one of the others is not what it should be, or has no meaning here.
    """
    names = {each.alias or name for name, each in model.model_fields.items()} - call.path_params.keys()
    given = query_params(call, {*names, *more, "min_position"})
    own = {name: text for name, text in given.items() if name in names}
    try:
        return given, model.model_validate({**own, **call.path_params})
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if any(each["loc"] and each["loc"][0] in call.path_params for each in found):
            raise NotFound("Nothing can have that name.") from None
        told = [(each["loc"], each["msg"].removeprefix("Value error, ")) for each in found]
        raise invalid(told, own) from None


def _file(name: str, row: type, rows: Sequence[Any]) -> tuple[bytes, list[Header]]:
    """Rows as CSV, to be saved under a name."""
    disposition = f'attachment; filename="{name}.csv"'.encode()
    return csv_text(row, rows), [_CSV, (b"content-disposition", disposition)]


def _next(given: Mapping[str, str], following: str | None) -> list[Header]:
    """Where a list goes on that has no place for a cursor in itself (RFC 8288)."""
    if following is None:
        return []
    return [(b"link", f'<?{urlencode({**given, "cursor": following})}>; rel="next"'.encode())]


def _standing(call: Call, answered: Answered) -> list[Header]:
    """Where the answer stands, whether anything is missing in it, and how long it would have waited."""
    headers = [(b"x-projection-position", b"%d" % answered.position)]
    if answered.discarded:
        headers.append((b"x-discarded-events", b"%d" % len(answered.discarded)))
    waits_s = wait_s(call)
    if waits_s is not None:
        headers.append((b"preference-applied", b"wait=%d" % waits_s))
    return headers
