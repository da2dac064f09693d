"""The tenant's events as a stream (WHATWG server-sent events): those that there are, then those that come.

A stream is pulled, never pushed: a page of the log is read when the page before it has gone to the client.
So a slow client costs two pages of memory, whatever there is to send. Streams at the same place of the same
log share pages, and one watch of the log wakes them all. None of them counts as a request in flight; there
is a limit to how many are open instead.

A stream ends when the client leaves, when the token expires, or when the process is told to end; the client
takes it up again by Last-Event-ID. An outage of the database does not end it: browsers give a stream up for
good when they are answered 503.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple
from uuid import UUID

from starlette.types import Message, Send

from api.auth import Gate
from api.call import Call
from api.errors import InvalidRequest, TooManyRequests, log
from api.metrics import Metrics
from api.negotiation import require_named
from api.params import POSITION_MAX, invalid_param, number, query_params
from api.ports import ApiSettings, Store
from api.queries import require
from api.reply import NO_STORE, Header
from domain.shared.errors import Unavailable
from eventstore.cloudevents import LogEvent, event_json
from eventstore.watch import Watch

PATH: Final = "/v1/events"
PERMISSION: Final = "audit.events:read"
EVENT_STREAM: Final = "text/event-stream"
ENDLESS: Final = "erp.endless"
"""Set in the ASGI scope of a request whose answer ends only when it must."""

_HEADERS: Final[list[Header]] = [
    (b"content-type", EVENT_STREAM.encode()),
    NO_STORE,
    # nginx would collect what is to arrive at once.
    (b"x-accel-buffering", b"no"),
]
_POSITION: Final = re.compile(rb"[0-9]{1,19}")
_RETRY: Final = b"retry: 1000\n\n"
_KEEP_ALIVE: Final = b":\n\n"
_KEEP_ALIVE_S: Final = 15.0
_LAST_WORD_S: Final = 1.0
# Timers want a bound, and no connection lives that long anyway.
_STREAM_S_MAX: Final = 86_400.0
_LOOK_EVERY_S: Final = 0.02
_OUTAGE_PAUSE_S: Final = 1.0
_PAGE_BYTES: Final = 64 * 1024
_PAGE_SEQS: Final = 1_000
# Looking for rare types, a page may go far, as few of its rows are sent.
_PAGE_SEQS_FILTERED: Final = 10_000
# Who catches up takes what commands leave of the connections to the database, not the other way round.
_READS_AT_ONCE: Final = 2


class Place(NamedTuple):
    """Where in which log a stream stands: it has everything up to `seq`, as far as it is of its types."""

    tenant: UUID
    seq: int
    types: tuple[str, ...] | None


class Page(NamedTuple):
    """What comes next, where the stream stands after it, and how far the log is known to go."""

    sent: bytes
    place: Place
    head: int


class LogPages:
    """Pages of the logs of tenants, shared by all streams of a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listening: Counter[UUID] = Counter()
        self._heads: Watch[Mapping[UUID, int]] = Watch(self._look, every_s=_LOOK_EVERY_S)
        self._reading: dict[tuple[Place, int], asyncio.Task[Page]] = {}
        self._turns = asyncio.Semaphore(_READS_AT_ONCE)

    async def after(self, place: Place, head: int) -> Page:
        """The next page, as soon as the log goes on beyond `head`, which is known; through every outage."""
        while True:
            try:
                if head <= place.seq:
                    head = await self._head_beyond(place)
                return await self._read(place, head)
            except Unavailable:
                log.info("a stream of events waits for the event store")
                await asyncio.sleep(_OUTAGE_PAUSE_S)

    async def _look(self) -> Mapping[UUID, int]:
        return await self._store.tenant_heads(list(self._listening))

    async def _head_beyond(self, place: Place) -> int:
        self._listening[place.tenant] += 1
        try:
            heads = await self._heads.until(lambda heads: heads.get(place.tenant, 0) > place.seq)
        finally:
            self._listening[place.tenant] -= 1
            if not self._listening[place.tenant]:
                del self._listening[place.tenant]
        return heads[place.tenant]

    async def _read(self, place: Place, head: int) -> Page:
        up_to = min(head, place.seq + (_PAGE_SEQS if place.types is None else _PAGE_SEQS_FILTERED))
        key = (place, up_to)
        task = self._reading.get(key)
        if task is None:
            page = self._page(place, up_to, head)
            task = self._reading[key] = asyncio.create_task(page, name="page of the log")
            task.add_done_callback(lambda done: self._forget(key, done))
        # Others may be waiting for it too.
        return await asyncio.shield(task)

    def _forget(self, key: tuple[Place, int], done: asyncio.Task[Page]) -> None:
        del self._reading[key]
        if not done.cancelled():
            done.exception()  # where nobody waits any more, nobody needs to be told

    async def _page(self, place: Place, up_to: int, head: int) -> Page:
        async with self._turns:
            events = await self._store.tenant_events(
                place.tenant, place.seq, up_to, types=place.types, bytes_max=_PAGE_BYTES
            )
        read_bytes = sum(len(each.event.data) + len(each.event.metadata) for each in events)
        # At the limit more may follow what came; below it this was all.
        seq = events[-1].event.tenant_seq if read_bytes >= _PAGE_BYTES else up_to
        return Page(b"".join(map(_sent, events)), place._replace(seq=seq), head)


class EventStreams:
    """The handler of `GET /v1/events`."""

    def __init__(self, gate: Gate, store: Store, metrics: Metrics, settings: ApiSettings) -> None:
        self._gate = gate
        self._store = store
        self._metrics = metrics
        self._open_max = settings.event_streams_max
        self._open = 0
        self._pages = LogPages(store)
        self._ending = asyncio.Event()

    def drain(self) -> None:
        """End all streams that are open or still to come."""
        self._ending.set()

    async def __call__(self, call: Call) -> "EventStream":
        """The stream that the request asks for, not yet begun."""
        caller = await self._gate.caller(call)
        require(caller, PERMISSION)
        require_named(call, EVENT_STREAM)
        params = query_params(call, ("after", "types"))
        after, types = _after(call, params), self._types(params)
        if after > await self._store.head():
            # Who saw more than there is stands on a log that was taken back to an earlier point.
            raise invalid_param("after", "the log has not come to this position")
        place = Place(caller.tenant, await self._store.tenant_seq_at(caller.tenant, after), types)
        ends_in_s = min(caller.expires_at - time.time(), _STREAM_S_MAX)
        return EventStream(self, call, place, ends_in_s)

    @contextmanager
    def admitted(self, call: Call) -> Iterator[tuple[LogPages, asyncio.Event]]:
        """A place among the open streams: where the pages come from, and what ends it.

        Raises:
            TooManyRequests: there is none left.
        """
        if self._open >= self._open_max:
            raise TooManyRequests("Too many streams of events are open; try again.")
        self._open += 1
        self._metrics.stream_began()
        call.land()
        try:
            yield self._pages, self._ending
        finally:
            self._open -= 1
            self._metrics.stream_ended()

    def _types(self, params: Mapping[str, str]) -> tuple[str, ...] | None:
        if "types" not in params:
            return None
        wanted = set(params["types"].split(","))
        unknown = wanted.difference(self._store.event_types)
        if unknown:
            raise invalid_param("types", f"there are no events of type {min(unknown)!r}")
        return tuple(sorted(wanted))


class EventStream:
    """One answer without end."""

    def __init__(self, streams: EventStreams, call: Call, place: Place, ends_in_s: float) -> None:
        self._streams = streams
        self._call = call
        self._place = place
        self._ends_in_s = ends_in_s

    async def send(self, send: Send, *, head: bool) -> None:
        """Send what there is and what comes, until one of the reasons to end."""
        start: Message = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
        if head:
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        with self._streams.admitted(self._call) as (pages, ending):
            self._call.scope[ENDLESS] = True
            await send(start)
            feeding = asyncio.create_task(self._feed(pages, send), name="stream of events")
            ends = {asyncio.create_task(self._call.gone()), asyncio.create_task(ending.wait())}
            try:
                await asyncio.wait({feeding, *ends}, timeout=self._ends_in_s, return_when="FIRST_COMPLETED")
            finally:
                await _cancelled(feeding, *ends)
            with suppress(TimeoutError):
                # A client that has stopped reading does not take a last word either.
                async with asyncio.timeout(_LAST_WORD_S):
                    await send({"type": "http.response.body", "body": b""})

    async def _feed(self, pages: LogPages, send: Send) -> None:
        place, head = self._place, 0
        await send(_chunk(_RETRY))
        heard_at = time.monotonic()
        while True:
            reading = asyncio.create_task(pages.after(place, head))
            try:
                silent_s = max(0.0, heard_at + _KEEP_ALIVE_S - time.monotonic())
                while not (await asyncio.wait({reading}, timeout=silent_s))[0]:
                    await send(_chunk(_KEEP_ALIVE))
                    heard_at, silent_s = time.monotonic(), _KEEP_ALIVE_S
                sent, place, head = reading.result()
            finally:
                reading.cancel()
            if sent:
                await send(_chunk(sent))
                heard_at = time.monotonic()
            # Not held while the next one is waited for, which may be for hours.
            del sent, reading


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    """Return when they have ended; what one of them had failed with is raised."""
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each


def _chunk(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _sent(logged: LogEvent) -> bytes:
    """The event as the stream has it; lines of its own data stay lines."""
    lines = b"\ndata: ".join(event_json(logged).splitlines())
    return b"id: %d\ndata: %b\n\n" % (logged.event.position, lines)


def _after(call: Call, params: Mapping[str, str]) -> int:
    """The position that the client has. `Last-Event-ID` wins: browsers send it to the URL they began with."""
    after = number(params, "after", 0, at_least=0, at_most=POSITION_MAX)
    last = call.headers.get(b"last-event-id")
    if last is None:
        return after
    if not _POSITION.fullmatch(last) or int(last) > POSITION_MAX:
        raise InvalidRequest("Last-Event-ID must be the id of an event of this stream.")
    return int(last)
