"""Who may do what over HTTP, one command at a time and in bulk."""

from collections.abc import Mapping

import httpx
import pytest

from tests.e2e.contract import ACCOUNTS, CASH, NOBODY, PERIODS
from tests.e2e.system import ENTRIES, Books, Home, bulk_line, entry, is_problem

pytestmark = pytest.mark.e2e


def test_who_may_not(home: Home, books: Books) -> None:
    """401 without a token that holds, told how to authenticate; 403 without the permission or the tenant."""
    token, sound = books.token, home.token
    head, claims, signature = token.split(".")
    tampered = f"{head}.{claims[:-2]}{'A' if claims[-2] != 'A' else 'B'}{claims[-1]}.{signature}"
    bad = {
        None: 401,
        "": 401,
        "Bearer": 401,
        f"Basic {token}": 401,
        "Bearer x.y.z": 401,
        f"Bearer {tampered}": 401,
        f"Bearer {head}.{claims}.": 401,
        f"Bearer {_unsigned(claims)}": 401,
        f"Bearer {sound(books.name, ttl_s=-1)}": 401,
        f"Bearer {sound(books.name, user='')}": 401,
        f"Bearer {sound('no such tenant')}": 403,
        f"Bearer {sound(books.name, roles=())}": 403,
        f"Bearer {sound(books.name, roles=('root', 'superuser'))}": 403,
        f"Bearer {sound(books.name, roles=('storekeeper', 'sales', 'cashier'))}": 403,
        f"Bearer {sound(books.name, roles=(), permissions=('finance.accounts:write',))}": 403,
    }
    before = books.last
    with httpx.Client(base_url=books.base_url) as anyone:
        for authorization, status in bad.items():
            headers = {} if authorization is None else {"Authorization": authorization}
            for answer in (
                anyone.post(ENTRIES, json=entry(), headers=headers),
                anyone.get(f"{ENTRIES}/{NOBODY}", headers=headers),
            ):
                assert is_problem(answer, status), (authorization, answer.text)
                assert ("www-authenticate" in answer.headers) == (status == 401)
    assert books.last == before


def _unsigned(claims: str) -> str:
    """`alg: none`, the oldest trick."""
    return f"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."


MAY: Mapping[str, set[str]] = {
    "admin": {"read", "chart", "calendar", "policy", "draft", "post", "discard"},
    "controller": {"read", "chart", "calendar", "policy", "draft", "post", "discard"},
    "accountant": {"read", "draft", "post", "discard"},
    "auditor": {"read"},
    "storekeeper": set(),
    "sales": set(),
    "cashier": set(),
}


@pytest.mark.parametrize("role", MAY)
def test_what_a_role_may(books: Books, role: str) -> None:
    """Each role may do what the contract says, and gets 403 `permission_denied` for everything else."""
    draft = books.post(post=False).json()["id"]
    user = books.by(f"the {role}", role)
    before = books.last
    asked = {
        "read": ("GET", f"{ENTRIES}/{draft}", None),
        "chart": ("POST", ACCOUNTS, CASH),
        "calendar": ("POST", f"{PERIODS}/2026-01/close", {}),
        "policy": ("PUT", "/v1/finance/approval-policy", {"currency": "JPY", "threshold": "1"}),
        "draft": ("POST", ENTRIES, entry(post=False)),
        "post": ("POST", ENTRIES, entry(posting_date="2026-02-01")),
        "discard": ("DELETE", f"{ENTRIES}/{draft}", None),
    }
    for what, (method, path, body) in asked.items():
        answer = user.send(method, path, **({} if body is None else {"json": body}))
        if what in MAY[role]:
            assert answer.is_success, (what, answer.text)
        else:
            assert is_problem(answer, 403, "permission_denied"), (what, answer.text)
    if MAY[role] <= {"read"}:
        assert books.last == before


def test_bulk_asks_for_the_permission_of_each_line(books: Books) -> None:
    """One who may draft but not close is told so line by line."""
    told = books.by("ann", "accountant").bulk(
        bulk_line("finance.post_journal_entry", entry(post=False)),
        bulk_line("finance.close_period", {"period": "2026-01"}),
        bulk_line("finance.post_journal_entry", entry(post=False)),
    )
    assert [(each["status"], each.get("code")) for each in told] == [
        (201, None),
        (403, "permission_denied"),
        (201, None),
    ]
