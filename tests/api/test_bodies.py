"""What a body must be before anything else is looked at."""

import hashlib
import json
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.strict_json import parse, pointer
from tests.api.world import ENTRIES, Exchange, authorised, entry

JSON = {"Content-Type": "application/json"}
MB_10 = 10 * 1024 * 1024


async def refused(client: httpx.AsyncClient, body: bytes) -> dict[str, Any]:
    answer = await client.post(ENTRIES, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["code"] == "invalid_request"
    return told


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b"", ""),
        (b"{", ""),
        (b"nonsense", ""),
        (b'{"memo": "\xff"}', ""),
        (b'\xef\xbb\xbf{"memo": ""}', ""),
        (b'{"memo": "a\nb"}', ""),
        (b"[]", ""),
        (b"null", ""),
        (b'"text"', ""),
        (b'{"memo": 1, "memo": 2}', "/memo"),
        (b'{"lines": [{"account": "1", "account": "2"}]}', "/lines/0/account"),
        (b'{"a/b~c": {"x": 1, "x": 1}}', "/a~1b~0c/x"),
        (b'{"year": NaN}', "/year"),
        (b'{"lines": [{"debit": Infinity}]}', "/lines/0/debit"),
        (b'{"debit": -Infinity}', "/debit"),
        (b'{"debit": 1e999}', "/debit"),
        (b'{"debit": ' + b"9" * 40 + b"}", "/debit"),
        (b'{"debit": ' + b"9" * 5000 + b"}", "/debit"),
        (b'{"memo": "\\ud800"}', "/memo"),
        (b'{"memo": {"\\udfff": 1}}', "/memo"),
        (b'{"memo": ' + b"[" * 300 + b"]" * 300 + b"}", ""),
        (b'{"memo": ' + b"[" * 200_000, ""),
    ],
)
async def test_what_is_not_unambiguous_json_is_refused_with_its_place(client, body, at):
    """Malformed, duplicate keys, NaN, huge numbers, surrogates, depth: 400 with a pointer."""
    told = await refused(client, body)
    assert told["errors"][0]["pointer"] == at


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"lines": [{"account": "1122", "debit": 1130.0}]}, "/lines/0/debit"),
        ({"lines": [{"account": "1122", "debit": 1130}]}, "/lines/0/debit"),
        ({"lines": [{"account": "1122", "debit": "9" * 40}]}, "/lines/0/debit"),
        ({"lines": [{"account": "1122", "debit": "NaN"}]}, "/lines/0/debit"),
        ({"lines": [{"account": "1122", "debit": "1.001"}]}, "/lines/0/debit"),
        ({"lines": [{"account": 1122}]}, "/lines/0/account"),
        ({"lines": [{"debit": "1.00"}]}, "/lines/0/account"),
        ({"lines": {"account": "1122"}}, "/lines"),
        ({"lines": [{"account": "1"}] * 10_000}, "/lines"),
        ({"currency": "XXX"}, "/currency"),
        ({"posting_date": "2026-02-30"}, "/posting_date"),
        ({"posting_date": 0}, "/posting_date"),
        ({"posting_date": "2026-01-01T00:00:00"}, "/posting_date"),
        ({"memo": "a\x00b"}, "/memo"),
        ({"memo": None}, "/memo"),
        ({"post": "yes"}, "/post"),
        ({"post": 1}, "/post"),
        ({"colour": "red"}, "/colour"),
        ({"col/our~": "red"}, "/col~1our~0"),
        ({"lines": [{"account": "1", "dimensions": {"bad key/": "x"}}]}, "/lines/0/dimensions/bad key~1"),
    ],
)
async def test_what_the_schema_does_not_allow_is_refused_with_its_place(client, world, changes, at):
    """Nothing is coerced: money is a string, a date a date, true is not "yes"."""
    told = await refused(client, orjson.dumps(entry(**changes)))
    assert at in [error["pointer"] for error in told["errors"]]
    assert len(told["errors"]) <= 50
    assert world.bus.asked == []


async def test_all_bad_fields_are_told_at_once(client):
    """A client mends its request in one go."""
    told = await refused(client, orjson.dumps({"currency": "XXX", "lines": [{}], "more": 1}))
    found = {error["pointer"] for error in told["errors"]}
    assert found >= {"/currency", "/posting_date", "/lines/0/account", "/more"}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/x-ndjson",
        "application/json; charset=latin-1",
        "application/jsonx",
    ],
)
async def test_only_json_is_taken(client, content_type):
    """Another media type is 415."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post(ENTRIES, content=orjson.dumps(entry()), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
async def test_json_may_say_that_it_is_utf_8(client, content_type):
    """Parameters and case of the media type do not matter."""
    headers = {"Content-Type": content_type}
    answer = await client.post(ENTRIES, content=orjson.dumps(entry()), headers=headers)
    assert answer.status_code == 201


async def test_an_encoded_body_is_not_taken(client):
    """A compressed body would get around the limit."""
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = await client.post(ENTRIES, content=b"x", headers=headers)
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"


async def test_a_body_that_announces_too_much_is_refused_unread(world):
    """Content-Length above the limit: 413 before a byte is read."""
    headers = {**authorised(), **JSON, "Content-Length": str(MB_10 + 1)}
    exchange = Exchange(world.app, "POST", ENTRIES, headers, [b"x"])
    await exchange.run()
    assert (exchange.status, orjson.loads(exchange.body)["code"]) == (413, "body_too_large")
    assert exchange.chunks_taken == 0


@pytest.mark.parametrize("path", [ENTRIES, "/v1/commands"])
async def test_a_body_that_grows_too_large_is_refused_at_once(world, path):
    """Without Content-Length, 413 comes as soon as the limit is passed, not at the end."""
    media_type = "application/json" if path == ENTRIES else "application/x-ndjson"
    headers = {**authorised(), "Content-Type": media_type}
    exchange = Exchange(world.app, "POST", path, headers, [b" " * (1024 * 1024)] * 20)
    await exchange.run()
    assert exchange.status == 413
    assert exchange.chunks_taken == 11


async def test_a_body_of_exactly_the_limit_is_read(client):
    """10 MB are 10 MB: this one is read, and found to be no JSON."""
    answer = await client.post(ENTRIES, content=b" " * MB_10, headers=JSON)
    assert answer.status_code == 400


async def test_a_client_that_hangs_up_in_mid_body_is_let_go(world, caplog):
    """Nobody is answered, nothing is done, and nothing is logged as an error."""
    headers = {**authorised(), **JSON}
    exchange = Exchange(world.app, "POST", ENTRIES, headers, [b'{"memo":'], gone_after=True)
    await exchange.run()
    assert exchange.sent == []
    assert world.bus.asked == []
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


async def test_a_command_without_required_fields_needs_no_body(client, world):
    """Closing a period takes a reason at most."""
    for content, headers in ((b"", {}), (b"{}", JSON), (b'{"reason": "month end"}', JSON)):
        answer = await client.post("/v1/finance/periods/2026-01/close", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
    assert [command.why for command, _ in world.bus.asked] == [None, None, "month end"]


async def test_what_the_path_says_the_body_must_not(client):
    """A path parameter in the body is an unknown field."""
    answer = await client.post("/v1/finance/periods/2026-01/close", json={"period": "2026-01"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/period"


@pytest.mark.parametrize(
    "path",
    [
        f"{ENTRIES}/not-a-uuid/post",
        "/v1/finance/periods/2026-13/close",
        "/v1/finance/periods/2026-01%0A/close",
        "/v1/finance/accounts/%00/close",
        f"/v1/finance/accounts/{'9' * 65}/close",
    ],
)
async def test_a_name_that_nothing_can_have_is_unknown(client, path):
    """A malformed id or code in the path is 404, as one that is not there."""
    answer = await client.post(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(plain_json)
def test_every_unambiguous_value_is_read_as_it_is(value):
    """Strictness refuses nothing that has one meaning, and spelling does not change the canonical form."""
    compact, spaced = json.dumps(value, ensure_ascii=False), json.dumps(value, indent=3)
    assert parse(compact.encode()) == parse(spaced.encode())
    assert parse(compact.encode())[0] == value


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_are_read_or_refused(raw):
    """Nothing makes the parser raise anything else, and a refusal can always be written down."""
    try:
        parse(raw)
    except InvalidRequest as refusal:
        orjson.dumps(refusal.members)


def test_a_pointer_escapes_what_it_must():
    """RFC 6901, section 3."""
    assert pointer("a/b", 0, "m~n", "") == "/a~1b/0/m~0n/"


async def test_the_request_hash_is_of_method_path_and_canonical_body(client, world):
    """Spelling does not matter, content does; the formula is fixed, since hashes outlive releases."""
    body = entry()
    await client.post(ENTRIES, content=json.dumps(body, indent=2), headers=JSON)
    await client.post(ENTRIES, content=orjson.dumps(dict(reversed(body.items()))), headers=JSON)
    await client.post(ENTRIES, json=entry(memo="other"))
    first, second, other = (context.request_hash for _, context in world.bus.asked)
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    assert first == hashlib.sha256(b"POST " + ENTRIES.encode() + b"\n" + canonical).digest()
    assert first == second != other
