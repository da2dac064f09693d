"""Commands in bulk: each line for itself, in order, in a bounded window."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from api.ports import ApiSettings
from domain.finance.account import AccountExists
from domain.shared.errors import Unavailable
from tests.api.world import ENTRIES, NDJSON, Exchange, World, an_answer, authorised, entry, line, until

BULK = "/v1/commands"
ID = "7f0c2f6e-0d1c-4b8e-9f4a-3f6f0a8f2b11"


async def sent(client: httpx.AsyncClient, *lines: bytes) -> list[dict[str, Any]]:
    answer = await client.post(BULK, content=b"".join(lines), headers=NDJSON)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [orjson.loads(each) for each in answer.content.splitlines()]


async def test_what_else_a_command_answers_is_told(client, world):
    """But for its own `status`: here that means HTTP's, as `line` means that of the request."""

    async def behaviour(command, context):
        return an_answer(9, extra={"status": "pending", "total": "5.00"})

    world.bus.behaviour = behaviour
    (told,) = await sent(client, line(entry()))
    assert (told["line"], told["status"], told["total"]) == (1, 201, "5.00")


async def test_every_line_stands_alone(client, world):
    """Good ones are carried out, whatever is wrong around them; each answer says which line it means."""

    async def behaviour(command, context):
        if command.TOPIC == "finance.open_account":
            raise AccountExists("It exists.", account=command.code, line="posing")
        if getattr(command, "memo", "") == "down":
            raise Unavailable
        if getattr(command, "memo", "") == "boom":
            raise RuntimeError("password")

    world.bus.behaviour = behaviour
    told = await sent(
        client,
        line(entry()),
        b"{nonsense\n",
        b"\n",
        b'  \t \r\n{"command": "finance.dance", "data": {}}\n',
        b"[]\n",
        b'{"command": "finance.post_journal_entry", "data": {}, "data": {}}\n',
        line(entry(lines=[{"account": "1", "debit": 1.0}])),
        line({"code": "1", "name": "Cash", "type": "asset"}, "finance.open_account"),
        line(entry(memo="down")),
        line(entry(memo="boom")),
        line(entry(), more=1),
        line(entry(), idempotency_key="a b"),
        b'{"command": "finance.close_period", "data": {"period": "soon"}}\n',
        b'{"command": "finance.close_period", "data": {"period": "2026-01"}}',
    )
    assert [(each["line"], each["status"]) for each in told] == [
        (1, 201),
        (2, 400),
        (5, 400),
        (6, 400),
        (7, 400),
        (8, 400),
        (9, 409),
        (10, 503),
        (11, 500),
        (12, 400),
        (13, 400),
        (14, 400),
        (15, 200),
    ]
    assert set(told[0]) == {"line", "status", "id", "version", "position"}
    pointers = {each["line"]: each["errors"][0]["pointer"] for each in told if "errors" in each}
    assert pointers[5] == "/command"
    assert pointers[7] == "/data"
    assert pointers[8] == "/data/lines/0/debit"
    assert pointers[12] == "/more"
    assert pointers[13] == "/idempotency_key"
    assert pointers[14] == "/data/period"
    assert "password" not in orjson.dumps(told).decode()
    assert all({"code", "detail"} <= set(each) for each in told if each["status"] >= 400)


async def test_answers_keep_the_order_of_the_lines(client, world):
    """However long each command takes."""

    async def behaviour(command, context):
        await asyncio.sleep(0.001 * (7 * int(command.memo) % 5))

    world.bus.behaviour = behaviour
    told = await sent(client, *(line(entry(memo=str(number))) for number in range(40)))
    assert [each["line"] for each in told] == list(range(1, 41))
    assert [command.memo for command, _ in world.bus.asked] == [str(number) for number in range(40)]


async def test_the_same_request_has_the_same_hash_by_route_and_in_bulk(client, world):
    """So that a key used on one way is known on the other."""
    await client.post(ENTRIES, json=entry())
    await client.post(f"{ENTRIES}/{ID}/reverse", json={"reason": "r", "posting_date": "2026-02-01"})
    await client.post("/v1/finance/accounts/1%20A/close")
    await sent(
        client,
        line(entry()),
        line({"posting_date": "2026-02-01", "id": ID, "reason": "r"}, "finance.reverse_journal_entry"),
        line({"code": "1 A"}, "finance.close_account"),
    )
    hashes = [context.request_hash for _, context in world.bus.asked]
    assert hashes[:3] == hashes[3:]
    assert len(set(hashes)) == 3


async def test_keys_replays_and_correlation(client, world):
    """The key of a line goes to the bus, a replay is told, and all lines share the correlation id."""

    async def behaviour(command, context):
        return an_answer(1, replayed=True) if context.idempotency_key == "again" else None

    world.bus.behaviour = behaviour
    client.headers["X-Correlation-ID"] = "import-7"
    told = await sent(
        client, line(entry(), idempotency_key="again"), line(entry()), line(entry(), idempotency_key=None)
    )
    assert [each.get("replayed") for each in told] == [True, None, None]
    assert {context.correlation_id for _, context in world.bus.asked} == {"import-7"}
    assert len({context.idempotency_key for _, context in world.bus.asked}) == 3


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/ndjson", "application/jsonl"])
async def test_the_names_of_ndjson(client, media_type):
    """It never got a registered one, so three are taken."""
    answer = await client.post(BULK, content=line(entry()), headers={"Content-Type": media_type})
    assert answer.status_code == 200


async def test_json_is_not_ndjson(client):
    """415, before anything is read."""
    assert (await client.post(BULK, json={})).status_code == 415


async def test_an_empty_body_has_an_empty_answer(client):
    """Nothing asked, nothing told."""
    assert await sent(client) == []
    assert await sent(client, b"\n\n \n") == []


async def test_no_more_than_the_window_is_in_flight():
    """And all of it is, so that the store can commit many together."""
    world = World(settings=ApiSettings(bulk_window=8))
    async with world.client() as client:
        told = await sent(client, *(line(entry()) for _ in range(100)))
    assert len(told) == 100
    assert world.bus.running_max == 8


async def test_a_slow_reader_stops_the_window():
    """While an answer is not taken, only the window behind it is worked on."""
    world = World(settings=ApiSettings(bulk_window=8))
    exchange = bulk(world, 100)
    exchange.may_send.clear()
    reading = asyncio.create_task(exchange.run())
    await asyncio.sleep(0.05)
    # Nothing can be sent yet, not even that the answer begins.
    assert world.bus.asked == []
    exchange.may_send.set()
    await until(lambda: len(exchange.sent) >= 2)
    exchange.may_send.clear()
    await asyncio.sleep(0.05)
    answered = exchange.body.count(b"\n")
    assert len(world.bus.asked) <= answered + 3 * 8
    exchange.may_send.set()
    await reading
    assert exchange.body.count(b"\n") == 100


async def test_a_client_that_hangs_up_starts_nothing_more():
    """What was started is finished; no further line is."""
    world = World(settings=ApiSettings(bulk_window=8))
    gate = asyncio.Event()

    async def wait(command, context):
        await gate.wait()

    world.bus.behaviour = wait
    exchange = bulk(world, 100)
    reading = asyncio.create_task(exchange.run())
    await until(lambda: len(world.bus.asked) >= 8)
    exchange.hang_up.set()
    await asyncio.sleep(0.01)
    gate.set()
    await reading
    assert len(world.bus.asked) < 20
    assert world.bus.finished == len(world.bus.asked)


async def test_a_broken_connection_leaves_whole_commands():
    """When even sending fails, those in the window are still carried out to their end."""
    world = World(settings=ApiSettings(bulk_window=8))
    exchange = bulk(world, 100)
    exchange.breaks = True
    await exchange.run()
    for _ in range(10):
        await asyncio.sleep(0)
    assert 8 <= world.bus.finished == len(world.bus.asked) < 20


def bulk(world: World, lines: int) -> Exchange:
    body = b"".join(line(entry()) for _ in range(lines))
    return Exchange(world.app, "POST", BULK, {**authorised(), "Content-Type": "application/x-ndjson"}, [body])


async def test_shutting_down_waits_for_lines_whose_reader_is_gone(world):
    """Cancelling the request does not cancel the lines it started, and shutting down waits for them."""
    gate, stopped = asyncio.Event(), asyncio.Event()

    async def wait(command, context):
        await gate.wait()

    world.bus.behaviour = wait
    exchange = Exchange(world.app, "POST", BULK, {**authorised(), **NDJSON}, [line(entry())])
    request = asyncio.create_task(exchange.run())
    lifespan = asyncio.create_task(world.app({"type": "lifespan", "state": {}}, _stop_when(stopped), _ignore))
    await until(lambda: world.bus.asked)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    stopped.set()
    done, _ = await asyncio.wait({lifespan}, timeout=0.05)
    assert not done, "shutting down did not wait"
    gate.set()
    await lifespan
    assert world.bus.finished == 1


def _stop_when(stopped: asyncio.Event) -> Any:
    begun = False

    async def receive():
        nonlocal begun
        if begun:
            await stopped.wait()
            return {"type": "lifespan.shutdown"}
        begun = True
        return {"type": "lifespan.startup"}

    return receive


async def _ignore(message):
    assert "failed" not in message["type"], message
