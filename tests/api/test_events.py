"""The stream of events, over a log in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest

from api import events
from api.auth import issue_token
from api.call import Call
from api.errors import NotAcceptable
from api.events import PATH
from api.negotiation import media_type, require_named
from api.ports import ApiSettings
from tests.api.world import AUTH, Exchange, World, authorised, until

ACCEPT = {"Accept": "text/event-stream"}


@contextlib.asynccontextmanager
async def following(world: World, **headers: str) -> AsyncIterator[Exchange]:
    """A client that stays until the end of this."""
    exchange = Exchange(world.app, "GET", PATH, {**authorised(), **ACCEPT, **headers}, [b""])
    running = asyncio.create_task(exchange.run())
    try:
        await until(lambda: running.done() or len(exchange.sent) > 1)
        yield exchange
    finally:
        exchange.hang_up.set()
        exchange.may_send.set()
        async with asyncio.timeout(5):
            await running


def ids(exchange: Exchange) -> list[int]:
    return [int(line[4:]) for line in exchange.body.splitlines() if line.startswith(b"id: ")]


async def grown(exchange: Exchange, count: int) -> None:
    async with asyncio.timeout(5):
        while len(ids(exchange)) < count:
            await asyncio.sleep(0.01)


async def test_lines_of_the_data_stay_lines(world: World):
    """A line break in stored JSON, which other writers may have put there, does not cut the event short."""
    world.store.record(data=b'{\r\n"a": 1,\r"b":\n2}')
    async with following(world) as exchange:
        await grown(exchange, 1)
    assert exchange.body.startswith(b"retry: ")
    event = exchange.body.split(b"\n\n")[1]
    told = b"\n".join(line[6:] for line in event.split(b"\n") if line.startswith(b"data: "))
    assert orjson.loads(told)["data"] == {"a": 1, "b": 2}


async def test_there_is_a_limit_to_streams_but_they_are_not_in_flight():
    """Open streams take no place of commands; one too many is 429; who leaves makes room."""
    world = World(settings=ApiSettings(in_flight_max=1, event_streams_max=2))
    async with world.client() as client:
        async with following(world), following(world):
            refused = await client.get(PATH, headers=ACCEPT)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            assert refused.headers["retry-after"] == "1"
            assert (await client.get("/v1/finance/accounts")).status_code == 200
            metrics = (await client.get("/metrics")).text.splitlines()
            assert "erp_http_event_streams 2.0" in metrics
            assert "erp_http_requests_in_flight 1.0" in metrics
        async with following(world) as exchange:
            assert exchange.status == 200


async def test_a_silent_stream_is_kept_alive(world: World, monkeypatch: pytest.MonkeyPatch):
    """By comments, which clients pass over."""
    monkeypatch.setattr(events, "_KEEP_ALIVE_S", 0.02)
    async with following(world) as exchange:
        async with asyncio.timeout(5):
            while exchange.body.count(b":\n\n") < 3:
                await asyncio.sleep(0.01)
        world.store.record()
        await grown(exchange, 1)


async def test_a_stream_ends_with_its_token():
    """In good order; nobody reads on with a token that has expired."""
    world = World()
    token = issue_token(AUTH, tenant="demo", user="alice", roles=["auditor"], ttl_s=2)
    async with following(world, Authorization=f"Bearer {token}") as exchange:
        async with asyncio.timeout(5):
            while exchange.sent[-1].get("more_body"):
                await asyncio.sleep(0.05)


async def test_a_stream_outlives_an_outage(world: World, monkeypatch: pytest.MonkeyPatch):
    """And goes on where it was."""
    monkeypatch.setattr(events, "_OUTAGE_PAUSE_S", 0.01)
    world.store.record()
    async with following(world) as exchange:
        await grown(exchange, 1)
        world.store.down = True
        await asyncio.sleep(0.1)
        world.store.record()
        await asyncio.sleep(0.1)
        assert ids(exchange) == [10]
        world.store.down = False
        await grown(exchange, 2)
    assert ids(exchange) == [10, 20]


async def test_streams_at_the_same_place_share_what_is_read(world: World, monkeypatch: pytest.MonkeyPatch):
    """However many follow a tenant, its new events are read once."""
    reads = []
    read = world.store.tenant_events

    async def counted(*args, **named):
        reads.append(args)
        await asyncio.sleep(0.05)
        return await read(*args, **named)

    monkeypatch.setattr(world.store, "tenant_events", counted)
    async with contextlib.AsyncExitStack() as stack:
        all_of_them = [await stack.enter_async_context(following(world)) for _ in range(20)]
        world.store.record()
        for exchange in all_of_them:
            await grown(exchange, 1)
    assert len(reads) == 1


def call_with(*accept: str) -> Call:
    async def receive():
        raise AssertionError

    return Call({"headers": [(b"accept", each.encode()) for each in accept]}, receive)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ([], "application/json"),
        ([""], "application/json"),
        (["*/*"], "application/json"),
        (["text/*"], "text/csv"),
        (["text/csv"], "text/csv"),
        (["Text/CSV; charset=utf-8"], "text/csv"),
        (["text/csv;q=0.5, application/json;q=0.4"], "text/csv"),
        (["text/csv;q=0.5", "application/json"], "application/json"),
        (["text/html, */*;q=0.1"], "application/json"),
        (["*/*, application/json;q=0"], "text/csv"),
        (["text/html"], None),
        (["application/json;q=0"], None),
        (["nonsense"], None),
    ],
)
def test_what_the_client_likes_best(accept, chosen):
    """RFC 9110, 12.5.1: the most specific range counts, then its weight, then our own order."""
    offered = ("application/json", "text/csv")
    if chosen is None:
        with pytest.raises(NotAcceptable):
            media_type(call_with(*accept), offered)
    else:
        assert media_type(call_with(*accept), offered) == chosen


def test_what_has_no_end_is_asked_for_by_name():
    """A client that takes anything would wait for the end of it."""
    require_named(call_with("application/json, text/event-stream;q=0.1"), "text/event-stream")
    for accept in ("*/*", "application/json", "text/event-stream;q=0"):
        with pytest.raises(NotAcceptable):
            require_named(call_with(accept), "text/event-stream")


async def test_who_catches_up_does_not_wait_between_pages(world: World, monkeypatch: pytest.MonkeyPatch):
    """The log's head is asked for when what was known of it is sent, not for every page."""
    monkeypatch.setattr(events, "_PAGE_SEQS", 1)
    looks = []
    look = world.store.tenant_heads

    async def counted(tenants):
        looks.append(tenants)
        return await look(tenants)

    monkeypatch.setattr(world.store, "tenant_heads", counted)
    for _ in range(200):
        world.store.record()
    async with following(world) as exchange:
        await grown(exchange, 200)
        assert len(looks) < 20
    assert ids(exchange) == [position * 10 for position in range(1, 201)]
