"""Whatever is sent, the answer is the clear problem of the contract, never a 5xx, and nothing is stored."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.system import ENTRIES, NDJSON, Api, Books, Home, bulk_line, entry, is_problem

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}
LINE = {"account": "1122", "debit": "1.00"}
DEEP = 100_000
# Digits to Python and to careless patterns, and to nobody else.
ARABIC_TEN = "\u0661\u0660.\u0660\u0660"
ARABIC_DATE = "\u0662\u0660\u0662\u0666-\u0660\u0661-\u0661\u0665"
ARABIC_ONE = '"\u0661"'.encode()


@pytest.fixture(scope="module")
def books(home: Home, one_api: Api) -> Iterator[Books]:
    """One tenant for all: that nothing gets into its books is what these tests are about."""
    books = Books.new(home, one_api.start().url)
    yield books.opened()
    books.close()


def raw(**changes: Any) -> bytes:
    return orjson.dumps(entry(**changes))


def with_line(**changes: Any) -> bytes:
    return raw(lines=[{**LINE, **changes}, {"account": "6001", "credit": "1.00"}])


def spelt(before: str, after: str) -> bytes:
    """An entry with a piece of its text replaced by what no JSON library would write."""
    text = raw().decode()
    assert before in text
    return text.replace(before, after, 1).encode()


BODIES: Mapping[str, tuple[bytes, str]] = {
    # name: body, pointer to the field at fault
    "nothing": (b"", ""),
    "blank": (b" \r\n", ""),
    "no JSON": (b"{", ""),
    "a comma too many": (raw()[:-1] + b",}", ""),
    "two texts": (raw() + raw(), ""),
    "an array": (b"[]", ""),
    "null": (b"null", ""),
    "a text": (b'"entry"', ""),
    "not UTF-8": (spelt('"EUR"', '"EUR"').replace(b"EUR", b"\xff\xfe"), ""),
    "UTF-16": (raw().decode().encode("utf-16"), ""),
    "a byte order mark": (b"\xef\xbb\xbf" + raw(), ""),
    "a NUL byte": (raw() + b"\x00", ""),
    "a duplicate key": (spelt('"currency"', '"currency":"USD","currency"'), "/currency"),
    "a duplicate key, deep": (spelt('"debit"', '"debit":"1.00","debit"'), "/lines/0/debit"),
    "a duplicate key, escaped": (spelt('"currency"', '"curr\\u0065ncy":"USD","currency"'), "/currency"),
    "NaN": (spelt('"10.00"', "NaN"), "/lines/0/debit"),
    "Infinity": (spelt('"10.00"', "-Infinity"), "/lines/0/debit"),
    "a double beyond doubles": (spelt('"10.00"', "1e999"), "/lines/0/debit"),
    "an integer beyond 64 bits": (spelt('"10.00"', "9" * 40), "/lines/0/debit"),
    "an integer of a million digits": (spelt('"10.00"', "9" * 1_000_000), "/lines/0/debit"),
    "a lone surrogate": (spelt('"reference":""', '"reference":"\\ud800"'), "/reference"),
    "a surrogate the wrong way round": (
        spelt('"reference":""', '"reference":"\\udc00\\ud800"'),
        "/reference",
    ),
    "arrays too deep": (spelt('"10.00"', "[" * DEEP + "]" * DEEP), ""),
    "objects too deep": (spelt('"10.00"', '{"a":' * DEEP + "1" + "}" * DEEP), ""),
    "arrays without end": (b"[" * MIB, ""),
    "deep, but not too deep": (spelt('"10.00"', "[" * 200 + "]" * 200), ""),
    "an unknown field": (raw(posted_by="mallory"), "/posted_by"),
    "an unknown field of a line": (with_line(amount="1.00"), "/lines/0/amount"),
    "an id that is not the client's to choose": (raw(id="x"), "/id"),
    "a missing field": (orjson.dumps({"currency": "EUR", "lines": []}), "/posting_date"),
    "lines missing": (orjson.dumps({"currency": "EUR", "posting_date": "2026-01-15"}), "/lines"),
    "lines null": (raw(lines=None), "/lines"),
    "lines an object": (raw(lines={}), "/lines"),
    "a line that is a text": (raw(lines=["1122", "6001"]), "/lines/0"),
    "an account of the wrong type": (with_line(account=1122), "/lines/0/account"),
    "an account that cannot be": (with_line(account="../1122"), "/lines/0/account"),
    "an account with a line feed": (with_line(account="1122\n"), "/lines/0/account"),
    "an empty account": (with_line(account=""), "/lines/0/account"),
    "money as a float": (with_line(debit=10.5), "/lines/0/debit"),
    "money as an integer": (with_line(debit=10), "/lines/0/debit"),
    "money as true": (with_line(debit=True), "/lines/0/debit"),
    "money as an object": (with_line(debit={"amount": "1.00"}), "/lines/0/debit"),
    "an amount of 40 digits": (with_line(debit="9" * 40), "/lines/0/debit"),
    "an amount of 16 digits": (with_line(debit="1" + "0" * 15), "/lines/0/debit"),
    "an amount with an exponent": (with_line(debit="1e3"), "/lines/0/debit"),
    "an amount named NaN": (with_line(debit="NaN"), "/lines/0/debit"),
    "an amount named Infinity": (with_line(debit="Infinity"), "/lines/0/debit"),
    "an amount with a comma": (with_line(debit="1,00"), "/lines/0/debit"),
    "an amount with a plus": (with_line(debit="+1.00"), "/lines/0/debit"),
    "an amount with blanks": (with_line(debit=" 1.00 "), "/lines/0/debit"),
    "an amount with a line feed": (with_line(debit="1.00\n"), "/lines/0/debit"),
    "an amount in hexadecimal": (with_line(debit="0x10"), "/lines/0/debit"),
    "an amount in Arabic digits": (with_line(debit=ARABIC_TEN), "/lines/0/debit"),
    "an amount in parts of a cent": (with_line(debit="1.001"), "/lines/0/debit"),
    "an empty amount": (with_line(debit=""), "/lines/0/debit"),
    "parts of a yen": (raw(currency="JPY", amount="1.5"), "/lines/0/debit"),
    "an unknown currency": (raw(currency="XYZ"), "/currency"),
    "a currency that was": (raw(currency="DEM"), "/currency"),
    "a currency in lower case": (raw(currency="eur"), "/currency"),
    "no currency": (raw(currency=None), "/currency"),
    "a day that is not": (raw(posting_date="2026-02-30"), "/posting_date"),
    "no leap year": (raw(posting_date="2026-02-29"), "/posting_date"),
    "a month that is not": (raw(posting_date="2026-13-01"), "/posting_date"),
    "the year nought": (raw(posting_date="0000-01-01"), "/posting_date"),
    "an instant for a date": (raw(posting_date="2026-01-15T00:00:00Z"), "/posting_date"),
    "a date without hyphens": (raw(posting_date="20260115"), "/posting_date"),
    "a date by its week": (raw(posting_date="2026-W03-4"), "/posting_date"),
    "a date as a number": (raw(posting_date=20260115), "/posting_date"),
    "a date in Arabic digits": (raw(posting_date=ARABIC_DATE), "/posting_date"),
    "post as a text": (raw(post="yes"), "/post"),
    "post as one": (raw(post=1), "/post"),
    "post as null": (raw(post=None), "/post"),
    "a journal that cannot be": (raw(journal="gene/ral"), "/journal"),
    "a NUL in a memo": (raw(memo="a\x00b"), "/memo"),
    "a line feed in a memo": (raw(memo="a\nb"), "/memo"),
    "an escape sequence in a reference": (raw(reference="\x1b[31mred"), "/reference"),
    "a C1 control in a reference": (raw(reference="a\x85b"), "/reference"),
    "a memo too long": (raw(memo="x" * 100_000), "/memo"),
    "1,001 lines": (raw(lines=[LINE] * 1001), "/lines"),
    "10,000 lines": (raw(lines=[LINE] * 10_000), "/lines"),
    "100,000 lines that are wrong, too": (raw(lines=[1] * 100_000), "/lines"),
    "dimensions as a list": (with_line(dimensions=["x"]), "/lines/0/dimensions"),
    "a dimension as a number": (with_line(dimensions={"cost_centre": 1}), "/lines/0/dimensions/cost_centre"),
    "10,000 dimensions": (with_line(dimensions={f"d{n}": "" for n in range(10_000)}), "/lines/0/dimensions"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body(books: Books, case: str) -> None:
    """What the schema does not allow is 400 `invalid_request`, with a pointer to the field at fault."""
    body, pointer = BODIES[case]
    before = books.last
    answer = books.send("POST", ENTRIES, content=body, headers=JSON)
    assert is_problem(answer, 400, "invalid_request"), answer.text
    pointers = [each["pointer"] for each in answer.json()["errors"]]
    assert any(each == pointer or (pointer and each.startswith(f"{pointer}/")) for each in pointers), (
        answer.text
    )
    assert answer.json()["instance"] == ENTRIES
    assert len(answer.content) < 20_000, "the answer to much nonsense is itself too much"
    assert books.last == before


@pytest.mark.parametrize("case", [case for case, (body, _) in BODIES.items() if body.strip()])
def test_a_bad_line_in_bulk(books: Books, case: str) -> None:
    """The same in bulk is the answer of that line, and the lines around it are carried out."""
    body, _ = BODIES[case]
    before = books.last
    good = bulk_line("finance.post_journal_entry", entry("around"))
    bad = b'{"command":"finance.post_journal_entry","data":' + body + b"}\n"
    told = books.bulk(good, bad, good)
    assert [each["line"] for each in told] == [1, 2, 3]
    assert [each["status"] for each in told] == [201, 400, 201], told[1]
    assert told[1]["code"] == "invalid_request"
    assert books.last == before + 2


RULES: Mapping[str, tuple[bytes, str]] = {
    "no lines": (raw(lines=[]), "finance.too_few_lines"),
    "one line": (raw(lines=[LINE]), "finance.too_few_lines"),
    "a negative amount": (with_line(debit="-1.00"), "finance.amount_not_positive"),
    "nothing": (raw(amount="0.00"), "finance.amount_not_positive"),
    "less than nothing": (with_line(debit="-0"), "finance.amount_not_positive"),
    "debit and credit": (with_line(credit="1.00"), "finance.line_not_one_sided"),
    "neither": (with_line(debit=None), "finance.line_not_one_sided"),
    "unbalanced": (with_line(debit="1.01"), "finance.entry_unbalanced"),
    "no such account": (with_line(account="9999"), "finance.account_unknown"),
    "no such period": (raw(posting_date="2027-01-01"), "finance.no_period"),
    "the last day of all": (raw(posting_date="9999-12-31"), "finance.no_period"),
    "the first day of all": (raw(posting_date="0001-01-01"), "finance.no_period"),
}


@pytest.mark.parametrize("case", RULES)
def test_a_broken_rule(books: Books, case: str) -> None:
    """What a rule of the business forbids is 422 with the domain's code, and takes no number."""
    body, code = RULES[case]
    before = books.last
    answer = books.send("POST", ENTRIES, content=body, headers=JSON)
    assert is_problem(answer, 422, code), answer.text
    assert books.last == before
    numbers = [event["number"] for event in books.events("finance.journal_entry.posted")]
    posted = books.ok("POST", ENTRIES, content=raw(), headers=JSON)
    assert books.get(f"{ENTRIES}/{posted['id']}")["number"] == len(numbers) + 1


HEADERS: Mapping[str, tuple[list[tuple[str, str | bytes]], int, str]] = {
    "no type": ([("Content-Type", "")], 415, "unsupported_media_type"),
    "a form": ([("Content-Type", "application/x-www-form-urlencoded")], 415, "unsupported_media_type"),
    "text": ([("Content-Type", "text/plain")], 415, "unsupported_media_type"),
    "another charset": (
        [("Content-Type", "application/json; charset=latin-1")],
        415,
        "unsupported_media_type",
    ),
    "compressed": ([*JSON.items(), ("Content-Encoding", "gzip")], 415, "unsupported_media_type"),
    "an empty key": ([*JSON.items(), ("Idempotency-Key", "")], 400, "invalid_request"),
    "a key with blanks": ([*JSON.items(), ("Idempotency-Key", "a b")], 400, "invalid_request"),
    "a key too long": ([*JSON.items(), ("Idempotency-Key", "k" * 256)], 400, "invalid_request"),
    "a key beyond ASCII": (
        [*JSON.items(), ("Idempotency-Key", "schlüssel".encode())],
        400,
        "invalid_request",
    ),
    "two keys": ([*JSON.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 400, "invalid_request"),
    "If-Match without quotes": ([*JSON.items(), ("If-Match", "1")], 400, "invalid_request"),
    "If-Match as a list": ([*JSON.items(), ("If-Match", '"1", "2"')], 400, "invalid_request"),
    "If-Match weak": ([*JSON.items(), ("If-Match", 'W/"1"')], 400, "invalid_request"),
    "If-Match of 40 digits": ([*JSON.items(), ("If-Match", f'"{"9" * 40}"')], 400, "invalid_request"),
    "If-Match in Arabic digits": ([*JSON.items(), ("If-Match", ARABIC_ONE)], 400, "invalid_request"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_bad_header(books: Books, case: str) -> None:
    """A header that cannot be understood is refused, never passed over."""
    headers, status, code = HEADERS[case]
    before = books.last
    answer = books.send("POST", ENTRIES, content=raw(), headers=headers)
    assert is_problem(answer, status, code), answer.text
    assert books.last == before


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", [ENTRIES, "/v1/commands"])
def test_a_body_over_10_mb(books: Books, api: Api, path: str, chunked: bool) -> None:
    """413, whether the length is told beforehand or not; memory does not keep what was refused."""
    before, resident = books.last, api.running.resident_bytes()
    kind = NDJSON if path == "/v1/commands" else JSON
    body = b"\n" * (10 * MIB + 1)
    pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    answer = books.send("POST", path, content=pieces if chunked else body, headers=kind)
    assert is_problem(answer, 413, "body_too_large"), answer.text
    assert books.last == before
    assert api.running.resident_bytes() - resident < 60 * MIB


def test_a_body_of_almost_10_mb(books: Books) -> None:
    """The limit is a limit and not a guess: what is below it is read, and told what is wrong with it."""
    body = raw(memo="x" * (10 * MIB - 2000))
    assert len(body) < 10 * MIB
    assert is_problem(books.send("POST", ENTRIES, content=body, headers=JSON), 400, "invalid_request")


QUERIES = [
    "limit=0",
    "limit=1001",
    "limit=-1",
    "limit=ten",
    "limit=1.0",
    "limit=",
    "limit=%D9%A1",
    "limit=1&limit=2",
    "limit=" + "9" * 5000,
    "cursor=",
    "cursor=x",
    "cursor=%00",
    "cursor=" + "A" * 5000,
    "cursor=ZmluYW5jZS5hY2NvdW50OjA",
    "cursor=ZmluYW5jZS5hY2NvdW50Oi0x",
    "cursor=ZmluYW5jZS5hY2NvdW50OjEKWA",
    "min_position=-1",
    "min_position=x",
    "min_position=" + "9" * 40,
    "sort=code",
    "Limit=1",
    "%ff=1",
    "&&&=",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_bad_query(books: Books, query: str) -> None:
    """A parameter that is unknown or out of range is 400 and names itself; none is passed over."""
    answer = books.send("GET", f"/v1/finance/accounts?{query}")
    assert is_problem(answer, 400, "invalid_request"), answer.text


@pytest.mark.parametrize("kind", ["accounts", "periods"])
def test_a_cursor_of_another_list(books: Books, kind: str) -> None:
    """A cursor is good for the list that handed it out, and for no other."""
    other = {"accounts": "periods", "periods": "accounts"}[kind]
    cursor = books.get(f"/v1/finance/{other}?limit=1")["next_cursor"]
    assert books.get(f"/v1/finance/{other}?limit=1&cursor={cursor}")["items"]
    answer = books.send("GET", f"/v1/finance/{kind}?cursor={cursor}")
    assert is_problem(answer, 400, "invalid_request"), answer.text


PATHS = [
    "/",
    "/v1",
    "/v1/",
    "/v2/finance/accounts",
    "/v1/finance/accounts/",
    "/v1//finance/accounts",
    "/v1/finance/accounts/%00",
    "/v1/finance/accounts/%2F",
    "/v1/finance/accounts/..%2f..%2fhealth",
    "/v1/finance/accounts/%2e%2e",
    "/v1/finance/accounts/1122%0a",
    "/v1/finance/accounts/%ff",
    "/v1/finance/accounts/%zz",
    "/v1/finance/accounts/%",
    "/v1/finance/accounts/%ED%A0%80",
    "/v1/finance/accounts/" + "9" * 8000,
    "/v1/finance/accounts/1122%00",
    "/v1/finance/accounts/unknown",
    "/v1/finance/journal-entries/1",
    "/v1/finance/journal-entries/%00",
    "/v1/finance/journal-entries/00000000-0000-0000-0000-000000000000",
    "/v1/finance/journal-entries/" + "0" * 36,
    "/v1/finance/journal-entries/{00000000-0000-0000-0000-000000000000}",
    "/v1/finance/journal-entries/urn:uuid:00000000-0000-0000-0000-000000000000",
    "/docs/../../../etc/passwd",
    "/docs/%2e%2e%2fpyproject.toml",
    "/openapi.json/",
    "/v1/finance/trial-balances",
    "/v1/finance/accounts/%00/ledger",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_to_nothing(books: Books, path: str) -> None:
    """404 as a problem, whatever the path is made of."""
    with httpx.Client(headers=books.headers, timeout=30) as client:
        url = httpx.URL(books.base_url).copy_with(raw_path=path.encode("latin-1"))
        answer = client.get(url)
    assert is_problem(answer, 404), answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/finance/accounts/%00/close",
        "/v1/finance/accounts/no%2Fsuch/close",
        "/v1/finance/periods/2026-13/close",
        "/v1/finance/periods/2025-12/close",
        "/v1/finance/periods/now/lock",
        f"{ENTRIES}/1/post",
        f"{ENTRIES}/00000000-0000-0000-0000-000000000000/post",
    ],
)
def test_a_command_on_nothing(books: Books, path: str) -> None:
    """404 for what does not exist and for what cannot exist."""
    before = books.last
    assert is_problem(books.send("POST", path), 404), path
    assert books.last == before


@pytest.mark.parametrize("method", ["PATCH", "PUT", "TRACE", "BREW", "DELETE"])
def test_a_method_that_is_not_offered(books: Books, method: str) -> None:
    """405 with Allow; a method that nobody knows is refused before it gets that far."""
    answer = books.send(method, ENTRIES)
    if method == "BREW":
        assert answer.status_code == 400
        return
    assert is_problem(answer, 405), answer.text
    assert "POST" in answer.headers["allow"]


def test_bulk_of_nothing(books: Books) -> None:
    """No lines, no answers; blank lines are passed over, and counted."""
    assert books.bulk(b"") == []
    assert books.bulk(b"\n\r\n  \n\n") == []
    told = books.bulk(b"\n\n", bulk_line("finance.post_journal_entry", entry()))
    assert [(each["line"], each["status"]) for each in told] == [(3, 201)]


def test_bulk_of_strange_lines(books: Books) -> None:
    """Each is answered in its place as bad, and stores nothing."""
    data = entry()
    lines = [
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"\xff\xfe\n",
        b'{"command":"finance.post_journal_entry"}\n',
        b'{"command":1,"data":{}}\n',
        b'{"command":"finance.no_such_command","data":{}}\n',
        b'{"command":"","data":{}}\n',
        b'{"command":"__class__","data":{}}\n',
        b'{"command":"finance.post_journal_entry","data":[]}\n',
        b'{"command":"finance.post_journal_entry","data":null}\n',
        bulk_line("finance.post_journal_entry", data, idempotency_key=""),
        bulk_line("finance.post_journal_entry", data, idempotency_key="k" * 256),
        bulk_line("finance.post_journal_entry", data, idempotency_key="a\nb"),
        bulk_line("finance.post_journal_entry", data, idempotency_key=1),
        bulk_line("finance.post_journal_entry", data, tenant="other"),
        bulk_line("finance.post_draft", {"id": "x"}),
        bulk_line("finance.post_draft", {}),
        bulk_line("finance.close_period", {"period": ["2026-01"]}),
        bulk_line("finance.close_account", {"code": {"a": 1}}),
        b"x" * 1000,
    ]
    before = books.last
    told = books.bulk(*lines)
    assert [each["line"] for each in told] == list(range(1, len(lines) + 1))
    assert [(each["line"], each["code"]) for each in told if each["status"] != 400] == []
    assert books.last == before


def test_bulk_of_one_line_of_almost_10_mb(books: Books) -> None:
    """It is one bad line with a short answer."""
    line = bulk_line("finance.post_journal_entry", entry(memo="x" * (9_900_000)))
    (told,) = books.bulk(line)
    assert (told["status"], told["errors"][0]["pointer"]) == (400, "/data/memo")


def test_the_widest_entry_there_is(books: Books) -> None:
    """1,000 lines of 15 digits are taken, add up exactly, and come back to the last cent."""
    amount = "999999999999999.99"
    half = [{"account": "1122", "debit": amount}] * 500
    posted = books.post(lines=[*half, *({"account": "6001", "credit": amount} for _ in range(500))])
    assert posted.status_code == 201, posted.text
    shown = books.get(f"{ENTRIES}/{posted.json()['id']}")
    total = math.prod((99999999999999999, 500))
    assert shown["totals"] == {
        "debit": f"{total // 100}.{total % 100:02}",
        "credit": f"{total // 100}.{total % 100:02}",
    }
    assert len(shown["lines"]) == 1000


@pytest.mark.parametrize(
    "text",
    ["Ünïcödé ✓ 漢字", "🧾" * 50, "\u202eevil", "{0.__class__}", "%s%n", "'; DROP TABLE erp.events; --"],
)
def test_text_comes_back_as_it_went_in(books: Books, text: str) -> None:
    """Text is data to every layer that it passes."""
    posted = books.post(memo=text, reference=text)
    assert posted.status_code == 201, posted.text
    shown = books.get(f"{ENTRIES}/{posted.json()['id']}")
    assert (shown["memo"], shown["reference"]) == (text, text)
