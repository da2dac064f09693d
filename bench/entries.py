"""The journal entry that every part of the bench posts, in each of the shapes it is needed in.

Two lines on two accounts of the standard chart, in this year's books; from one entry to the next only the
idempotency key, the reference and the amount change, and never the length.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

TENANT: Final = "bench"
USER: Final = "bench"
PATH: Final = "/v1/finance/journal-entries"
BULK_PATH: Final = "/v1/commands"
DEBIT: Final = "1122"
CREDIT: Final = "6001"
YEAR: Final = datetime.now(UTC).year
POSTING_DATE: Final = f"{YEAR}-06-15"
SERIES: Final = f"general/{YEAR}"

_BODY: Final = (
    b'{"journal":"general","posting_date":"' + POSTING_DATE.encode() + b'","currency":"EUR",'
    b'"memo":"Invoice","reference":"INV-%09d","lines":[{"account":"'
    + DEBIT.encode()
    + b'","debit":"%d.%02d"},'
    b'{"account":"' + CREDIT.encode() + b'","credit":"%d.%02d"}]}'
)


def body(n: int) -> bytes:
    """What a client sends to have the n-th entry posted."""
    units, cents = 1000 + n % 9000, n % 100
    return _BODY % (n % 1_000_000_000, units, cents, units, cents)


def requests_head(token: str) -> bytes:
    """Everything of a request before the key's value."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body(0))}\r\nIdempotency-Key: "
    ).encode()


def key() -> bytes:
    """An idempotency key that was never used, random all over, as clients make them."""
    return b"%032x" % random.getrandbits(128)


def bulk_line(n: int) -> bytes:
    """The n-th entry as a line of a bulk request."""
    return b'{"command":"finance.post_journal_entry","idempotency_key":"%b","data":%b}\n' % (key(), body(n))


def event_fields(n: int, amount_as: Callable[[str], object] = str) -> dict[str, Any]:
    """The data of the event that posting the n-th entry records."""
    amount = amount_as(f"{1000 + n % 9000}.{n % 100:02}")
    return {
        "journal": "general",
        "posting_date": POSTING_DATE,
        "currency": "EUR",
        "memo": "Invoice",
        "reference": f"INV-{n:09}",
        "lines": [_line(DEBIT, debit=amount), _line(CREDIT, credit=amount)],
        "reverses": None,
        "drafted_by": USER,
    }


def event_data(n: int) -> bytes:
    """The same as the log keeps it."""
    return orjson.dumps(event_fields(n))


def instant(n: int) -> datetime:
    """When the n-th event might have been recorded."""
    return datetime(YEAR, 1, 1, tzinfo=UTC) + timedelta(milliseconds=n)


def event_metadata() -> bytes:
    """The metadata of such an event."""
    return orjson.dumps(
        {
            "actor": USER,
            "command": "finance.post_journal_entry",
            "correlation_id": "00000000-0000-4000-8000-000000000000",
        }
    )


def _line(account: str, *, debit: object = None, credit: object = None) -> dict[str, Any]:
    return {
        "account": account,
        "debit": debit,
        "credit": credit,
        "memo": "",
        "dimensions": {},
        "party": None,
    }
