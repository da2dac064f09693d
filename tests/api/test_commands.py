"""Commands over HTTP: what goes in, what comes back, and what happens when either end goes away."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from api.ports import ApiSettings
from api.reply import instant
from commands.bus import Answer, Command, Context
from commands.errors import ConcurrencyConflict, IdempotencyKeyReused, VersionMismatch
from domain.finance.account import AccountExists, AccountNotFound
from domain.shared.errors import DomainError, Unavailable
from tests.api.world import ENTRIES, Behaviour, World, an_answer, entry, until

JSON = {"Content-Type": "application/json"}
ID = "7f0c2f6e-0d1c-4b8e-9f4a-3f6f0a8f2b11"


class Strange(DomainError):
    """A rule whose data try to pose as the problem itself."""

    code = "finance.strange"


def always(result: Answer | Exception) -> Behaviour:
    """A bus that ends every command like this."""

    async def behaviour(command: Command, context: Context) -> Answer:
        if isinstance(result, Exception):
            raise result
        return result

    return behaviour


async def test_the_answer_to_a_command(client):
    """201 with id, version, position and instant; where to read it; its version as ETag."""
    answer = await client.post(ENTRIES, json=entry())
    told = answer.json()
    assert answer.status_code == 201
    assert set(told) == {"id", "version", "position", "recorded_at"}
    assert told["recorded_at"] == "2026-01-15T12:00:00.000000Z"
    assert answer.headers["location"] == f"{ENTRIES}/{told['id']}"
    assert answer.headers["etag"] == '"1"'
    assert "idempotency-replayed" not in answer.headers


async def test_a_replayed_answer_says_so(client, world):
    """And what else the answer carries is told too."""
    world.bus.behaviour = always(an_answer(9, replayed=True, extra={"transfer_id": ID}))
    answer = await client.post(ENTRIES, json=entry())
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.json()["transfer_id"] == ID


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "location"),
    [
        ("POST", f"{ENTRIES}/{ID}/post", None, 200, ENTRIES + "/{id}"),
        (
            "POST",
            f"{ENTRIES}/{ID}/reverse",
            {"posting_date": "2026-02-01", "reason": "error"},
            201,
            ENTRIES + "/{id}",
        ),
        ("DELETE", f"{ENTRIES}/{ID}", None, 200, None),
        (
            "POST",
            "/v1/finance/accounts",
            {"code": "1 A", "name": "Cash", "type": "asset"},
            201,
            "/v1/finance/accounts/1%20A",
        ),
        ("POST", "/v1/finance/accounts/1%20A/close", None, 200, "/v1/finance/accounts/1%20A"),
        (
            "POST",
            "/v1/finance/fiscal-years",
            {"year": 2026, "start": "2026-01-01"},
            201,
            "/v1/finance/periods",
        ),
        ("POST", "/v1/finance/periods/2026-01/close", None, 200, "/v1/finance/periods"),
        ("POST", "/v1/finance/periods/2026-01/reopen", None, 200, "/v1/finance/periods"),
        ("POST", "/v1/finance/periods/2026-01/lock", None, 200, "/v1/finance/periods"),
        ("PUT", "/v1/finance/approval-policy", {"currency": "EUR", "threshold": "100.00"}, 200, None),
    ],
)
async def test_every_route_of_finance(client, world, *, method, path, body, status, location):
    """Path and body become the command; the answer says where to look."""
    answer = await client.request(method, path, json=body) if body else await client.request(method, path)
    assert answer.status_code == status, answer.text
    expected = None if location is None else location.replace("{id}", answer.json()["id"])
    assert answer.headers.get("location") == expected
    ((command, _),) = world.bus.asked
    assert command.TOPIC.startswith("finance.")
    if "1%20A" in path:
        assert command.code == "1 A"
    if ID in path:
        assert command.id == UUID(ID)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Strange("No."), 422, "finance.strange"),
        (AccountNotFound("No."), 404, "finance.account_not_found"),
        (AccountExists("No."), 409, "finance.account_exists"),
        (ConcurrencyConflict("No."), 409, "concurrency_conflict"),
        (VersionMismatch("No.", version=3), 412, "version_mismatch"),
        (IdempotencyKeyReused("No."), 422, "idempotency_key_reused"),
        (Unavailable("postgres://user:password@host"), 503, "unavailable"),
        (RuntimeError("password=hunter2"), 500, "internal_error"),
    ],
)
async def test_every_failure_is_a_problem(client, world, caplog, *, error, status, code):
    """RFC 9457, with the stable code; internals stay inside, in the log."""
    world.bus.behaviour = always(error)
    answer = await client.post(ENTRIES, json=entry(), headers={"X-Correlation-ID": "trace-me"})
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-correlation-id"] == "trace-me"
    assert set(problem) >= {"type", "title", "status", "detail", "instance", "code"}
    assert (problem["code"], problem["instance"]) == (code, ENTRIES)
    assert "password" not in answer.text
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    assert ("hunter2" in caplog.text) == ("trace-me" in caplog.text) == (status == 500)


async def test_what_a_rule_knows_is_told_but_never_instead_of_the_problem(client, world):
    """Data become members; `status` and `code` stay what they are; what JSON lacks is told as text."""
    world.bus.behaviour = always(
        Strange("No.", status="fine", code="ok", account="1122", since=timedelta(days=1))
    )
    problem = (await client.post(ENTRIES, json=entry())).json()
    assert (problem["status"], problem["code"], problem["account"]) == (422, "finance.strange", "1122")
    assert problem["since"] == "1 day, 0:00:00"


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "ä", "a\tb"])
async def test_a_malformed_idempotency_key_is_refused(client, world, key):
    """1 to 255 visible ASCII characters."""
    answer = await client.post(ENTRIES, json=entry(), headers={"Idempotency-Key": key.encode()})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert world.bus.asked == []


async def test_the_idempotency_key_reaches_the_bus_or_is_made(client, world):
    """Every request has one."""
    await client.post(ENTRIES, json=entry(), headers={"Idempotency-Key": "~" * 255})
    await client.post(ENTRIES, json=entry())
    await client.post(ENTRIES, json=entry())
    given, first, second = (context.idempotency_key for _, context in world.bus.asked)
    assert given == "~" * 255
    assert UUID(first) != UUID(second)


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, None), ("*", None), ('"0"', 0), ('"17"', 17), ('"' + "9" * 18 + '"', 10**18 - 1)],
)
async def test_if_match_is_the_expected_version(client, world, header, expected):
    """In quotes, as the ETag was; `*` is any."""
    headers = {} if header is None else {"If-Match": header}
    await client.post("/v1/finance/periods/2026-01/close", headers=headers)
    assert world.bus.asked[0][1].expected_version == expected


@pytest.mark.parametrize(
    "header", ["17", '"', '""', '"x"', '"-1"', '"1", "2"', 'W/"1"', '"' + "9" * 40 + '"']
)
async def test_a_malformed_if_match_is_refused(client, world, header):
    """400, rather than a check that is not made."""
    answer = await client.post("/v1/finance/periods/2026-01/close", headers={"If-Match": header})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert world.bus.asked == []


@pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match", "Authorization"])
async def test_a_header_said_twice_is_refused(client, name):
    """It would mean two things."""
    headers = [*client.headers.items(), (name, '"1"'), (name, '"2"')]
    answer = await client.post(ENTRIES, json=entry(), headers=headers)
    assert answer.status_code == 400


async def test_commands_take_no_query_parameters(client):
    """What would be passed over is refused."""
    answer = await client.post(f"{ENTRIES}?post=false", json=entry())
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("order-17/2026:a=b", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("a b", False),
        ("", False),
        ('"><script>', False),
    ],
)
async def test_the_correlation_id_is_echoed_or_made(client, world, given, kept):
    """A sensible one comes back and goes to the bus; any other is replaced."""
    answer = await client.post(ENTRIES, json=entry(), headers={"X-Correlation-ID": given})
    echoed = answer.headers["x-correlation-id"]
    assert (echoed == given) == kept
    assert world.bus.asked[0][1].correlation_id == echoed
    assert kept or str(UUID(echoed)) == echoed


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
async def test_traceparent_is_kept_when_well_formed(client, world, given, kept):
    """W3C Trace Context; anything else is ignored, never refused."""
    answer = await client.post(ENTRIES, json=entry(), headers={"traceparent": given})
    assert answer.status_code == 201
    assert world.bus.asked[0][1].traceparent == (given if kept else None)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/finance/accounts/", 404, "not_found"),
        ("GET", "/v1/finance/trial-balances", 404, "not_found"),
        ("PATCH", ENTRIES, 405, "method_not_allowed"),
        ("DELETE", "/v1/finance/accounts", 405, "method_not_allowed"),
        ("BREW", "/v1/commands", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(client, method, path, status, code):
    """With a correlation id, as every answer."""
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert UUID(answer.headers["x-correlation-id"]).version == 4
    assert ("allow" in answer.headers) == (status == 405)


async def test_options_tell_the_methods_and_head_has_no_body(client):
    """Both without side effects."""
    options = await client.options("/v1/finance/accounts")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    get, head = await client.get("/v1/finance/accounts"), await client.head("/v1/finance/accounts")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    missing = await client.head("/nowhere")
    assert (missing.status_code, missing.content) == (404, b"")


async def test_too_many_at_once_are_turned_away():
    """429 with Retry-After, while health still answers; afterwards there is room again."""
    world = World(settings=ApiSettings(in_flight_max=1))
    gate = asyncio.Event()

    async def wait(command, context):
        await gate.wait()

    world.bus.behaviour = wait
    async with world.client() as client:
        first = asyncio.create_task(client.post(ENTRIES, json=entry()))
        await until(lambda: world.bus.asked)
        second = await client.post(ENTRIES, json=entry())
        assert (second.status_code, second.json()["code"]) == (429, "too_many_requests")
        assert second.headers["retry-after"] == "1"
        assert (await client.get("/health/live")).status_code == 200
        gate.set()
        assert (await first).status_code == 201
        assert (await client.post(ENTRIES, json=entry())).status_code == 201


async def test_a_large_entry_is_decoded_all_the_same(client, world):
    """A thousand lines take the way through a thread, to the same result."""
    lines = [{"account": "1122", "debit": "1.00", "memo": "m" * 100}] * 1000
    answer = await client.post(ENTRIES, json=entry(lines=lines))
    assert answer.status_code == 201
    assert len(world.bus.asked[0][0].lines) == 1000


def test_instants_are_told_in_utc_and_all_alike():
    """Microseconds are there even when they are zero, so that instants sort as text."""
    moment = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert instant(moment) == "2025-12-31T23:30:00.000000Z"
    assert instant(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)) == "2026-01-01T00:00:00.000005Z"
