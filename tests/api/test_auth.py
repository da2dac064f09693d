"""Who gets in, and as whom."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from api import auth
from api.auth import AuthConfig, AuthKey, TokenVerifier, issue_token
from api.errors import Unauthenticated
from tests.api.world import AUTH, TENANT, World, entry

SECRET = "another secret that is only for tests, and long enough for every HMAC"


def ed25519() -> tuple[bytes, bytes]:
    """A private and its public key, as PEM."""
    private = Ed25519PrivateKey.generate()
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


PRIVATE, PUBLIC = ed25519()


def claims(**changes: Any) -> dict[str, Any]:
    told = {
        "sub": "alice",
        "tenant": "demo",
        "roles": ["accountant"],
        "exp": int(time.time()) + 60,
        **changes,
    }
    return {name: value for name, value in told.items() if value is not ...}


def signed(secret: Any = SECRET, alg: str = "HS256", kid: str | None = "main", **changes: Any) -> bytes:
    headers = {} if kid is None else {"kid": kid}
    return b"Bearer " + jwt.encode(claims(**changes), secret, algorithm=alg, headers=headers).encode()


def verifier(*keys: AuthKey) -> TokenVerifier:
    return TokenVerifier(AuthConfig(keys or (AuthKey("main", "HS256", SECRET),)))


def refuses(verifier: TokenVerifier, header: bytes | None) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        verifier.principal(header)
    assert dict(refusal.value.headers)[b"www-authenticate"].startswith(b"Bearer")


def test_a_good_token_says_who_and_what():
    """User, tenant, and what roles and single permissions allow together."""
    principal = verifier().principal(signed(permissions=["finance.periods:write"]))
    assert (principal.user, principal.tenant) == ("alice", "demo")
    assert principal.permissions.allow("finance.journal_entries:post")
    assert principal.permissions.allow("finance.periods:write")
    assert not principal.permissions.allow("finance.accounts:write")


def test_eddsa_is_verified_by_public_or_private_key():
    """A server that only verifies needs no private key."""
    token = signed(PRIVATE, "EdDSA")
    for pem in (PRIVATE, PUBLIC):
        assert verifier(AuthKey("main", "EdDSA", pem)).principal(token).user == "alice"


def test_keys_rotate_by_kid():
    """Two keys count at once, a removed one no longer; without kid those of the algorithm are tried."""
    old, new = AuthKey("2025", "HS256", "o" * 32), AuthKey("2026", "EdDSA", PRIVATE)
    both = verifier(new, old)
    old_token = signed("o" * 32, kid="2025")
    assert both.principal(old_token).user
    assert both.principal(signed(PRIVATE, "EdDSA", "2026")).user
    assert both.principal(signed("o" * 32, kid=None)).user
    refuses(verifier(new), old_token)
    refuses(both, signed("o" * 32, kid="2026"))
    refuses(both, signed("o" * 32, kid="2024"))


def test_two_secrets_without_kid_are_both_tried():
    """An issuer that names no key can still rotate."""
    keys = verifier(AuthKey("b", "HS256", "b" * 32), AuthKey("a", "HS256", "a" * 32))
    assert keys.principal(signed("a" * 32, kid=None)).user
    refuses(keys, signed("c" * 32, kid=None))


def test_a_public_key_is_no_hmac_secret():
    """Algorithm confusion: HS256 over the public PEM does not pass, with or without kid."""

    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    for header in ({"alg": "HS256", "kid": "main"}, {"alg": "HS256"}):
        signing = part(header) + b"." + part(claims())
        mac = base64.urlsafe_b64encode(hmac.digest(PUBLIC, signing, hashlib.sha256)).rstrip(b"=")
        refuses(verifier(AuthKey("main", "EdDSA", PUBLIC)), b"Bearer " + signing + b"." + mac)


def test_an_unsigned_token_is_none():
    """`alg: none` in all its spellings."""
    token = jwt.encode(claims(), "", algorithm="none", headers={"kid": "main"})
    refuses(verifier(), b"Bearer " + token.encode())
    refuses(verifier(), signed(alg="HS512"))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ...},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 10**400},
        {"nbf": 2**40},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "a" * 300},
        {"sub": "\ud800"},
        {"tenant": ...},
        {"tenant": ["demo"]},
        {"roles": "admin"},
        {"roles": [["admin"]]},
        {"permissions": {"*": True}},
    ],
)
def test_claims_that_are_not_what_they_should_be(changes):
    """Signed or not: 401, never a 500."""
    if changes.get("exp") == 10**400:
        # Not even a float holds that; as an integer it is merely far away.
        assert verifier().principal(signed(**changes)).user
        return
    refuses(verifier(), signed(**changes))


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YWxpY2U6eA==",
        b"Bearer x",
        b"Bearer a.b.c",
        b"Bearer " + b"a" * 10_000,
        b"Bearer " + base64.urlsafe_b64encode(b'{"alg":"HS256","kid":[1]}') + b".e30.AAAA",
        b"Bearer " + base64.urlsafe_b64encode(b"[" * 4000) + b".e30.AAAA",
        b"Bearer \xff\xfe.\xff.\xff",
    ],
)
def test_what_is_no_token(header):
    """Garbage in any form is 401."""
    refuses(verifier(), header)


def test_a_token_that_was_changed_does_not_hold():
    """Neither with another payload nor with another signature."""
    head, payload, signature = signed().split(b".")
    other = signed(sub="mallory").split(b".")[1]
    refuses(verifier(), b".".join((head, other, signature)))
    refuses(verifier(), b".".join((head, payload, signature[::-1])))


def test_an_expired_token_is_refused_even_when_it_is_remembered():
    """The cache honours exp to the second."""
    clock = [time.time()]
    remembering = TokenVerifier(AuthConfig((AuthKey("main", "HS256", SECRET),)), now=lambda: clock[0])
    token = signed(exp=int(clock[0]) + 60)
    assert remembering.principal(token) is remembering.principal(token)
    clock[0] += 61
    refuses(remembering, token)
    refuses(remembering, token)
    refuses(verifier(), signed(exp=int(time.time()) - 1))


def test_the_cache_is_bounded(monkeypatch):
    """The token unused for longest goes first."""
    monkeypatch.setattr(auth, "_CACHE_MAX", 2)
    small = verifier()
    first, second, third = (signed(sub=name) for name in ("anna", "ben", "cleo"))
    kept = small.principal(first)
    small.principal(second)
    assert small.principal(first) is kept
    small.principal(third)
    assert small.principal(first) is kept
    assert len(small._verified) == 2


def test_the_first_key_that_can_sign_signs():
    """A public key in front is passed over; where none can sign, issuing fails."""
    config = AuthConfig((AuthKey("out", "EdDSA", PUBLIC), AuthKey("in", "EdDSA", ed25519()[0])))
    token = issue_token(
        config, tenant="demo", user="bob", roles=["auditor"], permissions=["finance.accounts:write"], ttl_s=60
    )
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": "in", "typ": "JWT"}
    principal = TokenVerifier(config).principal(f"Bearer {token}".encode())
    assert principal.user == "bob"
    assert principal.permissions.allow("finance.accounts:write")
    with pytest.raises(ValueError, match="sign"):
        issue_token(AuthConfig(config.keys[:1]), tenant="demo", user="bob", roles=[], ttl_s=60)


@pytest.mark.parametrize(
    "keys",
    [
        (),
        (AuthKey("a", "HS256", "x" * 32), AuthKey("a", "HS256", "y" * 32)),
        (AuthKey("a", "HS256", "too short"),),
        (AuthKey("a", "HS256", PUBLIC),),
        (AuthKey("a", "EdDSA", "x" * 32),),
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(keys):
    """At start, not at the first request."""
    with pytest.raises(ValueError, match=r".+"):
        AuthConfig(keys)


def test_only_ed25519_is_eddsa_here():
    """An RSA key under that name is refused."""
    pem = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="Ed25519"):
        AuthConfig((AuthKey("a", "EdDSA", pem),))


def test_secrets_stay_out_of_sight():
    """What is logged of a configuration shows no key."""
    assert "secret" not in repr(AUTH)


async def test_without_a_token_the_answer_is_401(world: World):
    """With the challenge of RFC 6750."""
    async with world.client() as client:
        del client.headers["Authorization"]
        answer = await client.post("/v1/finance/journal-entries", json=entry())
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="erp"'


async def test_an_unknown_tenant_is_403(world: World):
    """A good token for a company that does not exist."""
    async with world.client(tenant="nowhere") as client:
        answer = await client.get("/v1/finance/accounts")
    assert (answer.status_code, answer.json()["code"]) == (403, "unknown_tenant")


async def test_a_query_needs_its_permission(world: World):
    """Roles without it get 403, which names it."""
    async with world.client("cashier") as client:
        answer = await client.get("/v1/finance/accounts")
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert answer.json()["permission"] == "finance.accounts:read"


async def test_the_caller_reaches_the_bus(world: World):
    """Tenant, actor and permissions are those of the token."""
    async with world.client("accountant") as client:
        await client.post("/v1/finance/journal-entries", json=entry())
    (_, context) = world.bus.asked[0]
    assert (context.tenant, context.actor) == (TENANT, "alice")
    assert context.permissions.allow("finance.journal_entries:post")
