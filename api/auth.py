"""Who asks: bearer tokens (RFC 6750, RFC 7519), verified by one of several keys, and what their claims allow.

A key is chosen by the token's `kid`; several keys at once make rotation possible: add the new one, sign
with it, remove the old one when its last token has expired. A token is only ever verified by a key of the
token's own algorithm, so that nobody can pass off a public key as an HMAC secret.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from api.call import Call
from api.errors import Unauthenticated, UnknownTenant
from commands.permissions import Permissions

SECRET_BYTES_MIN: Final = 32
"""RFC 7518, 3.2: an HS256 key is at least as long as the hash."""
_CACHE_MAX: Final = 4096
_TOKEN_BYTES_MAX: Final = 8192
# What ends up in the log as the actor is readable, and the same for everyone who reads it.
_NAME: Final = re.compile(r"[^\x00-\x20\x7f-\xa0\ud800-\udfff](?:[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,254})")


class Tenants(Protocol):
    """Finds tenants by name; expected to remember them."""

    def __call__(self, name: str, /) -> Awaitable[UUID | None]:
        """The tenant's id, or None when there is no such tenant."""


@dataclass(frozen=True, slots=True)
class AuthKey:
    """A key: the secret for HS256; for EdDSA an Ed25519 key as PEM, of which a public one only verifies."""

    kid: str
    alg: Literal["EdDSA", "HS256"]
    key: str | bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """The keys that count now, the preferred one first.

    Raises:
        ValueError: no key, two keys of one `kid`, a secret too short, or a key that cannot be read.
    """

    keys: tuple[AuthKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("at least one authentication key is needed")
        if len({key.kid for key in self.keys}) != len(self.keys):
            raise ValueError("two authentication keys have the same kid")
        for key in self.keys:
            _loaded(key)


@dataclass(frozen=True, slots=True)
class Principal:
    """What a verified token says."""

    user: str
    tenant: str
    permissions: Permissions
    expires_at: float
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in which tenant, and what they may do."""

    tenant: UUID
    actor: str
    permissions: Permissions
    expires_at: float
    """Unix time in seconds, when the token does."""


def issue_token(
    config: AuthConfig,
    *,
    tenant: str,
    user: str,
    roles: Iterable[str],
    permissions: Iterable[str] = (),
    ttl_s: float,
) -> str:
    """A token, signed with the first key that can sign.

    Raises:
        ValueError: none of them can.
    """
    issued_at = int(time.time())
    claims = {
        "sub": user,
        "tenant": tenant,
        "roles": list(roles),
        "permissions": list(permissions),
        "iat": issued_at,
        "exp": issued_at + int(ttl_s),
    }
    for key in config.keys:
        signing, _ = _loaded(key)
        if signing is not None:
            return jwt.encode(claims, signing, algorithm=key.alg, headers={"kid": key.kid})
    raise ValueError("no authentication key can sign: all are public")


class TokenVerifier:
    """Verifies `Authorization` headers, and remembers the verified ones until they expire."""

    def __init__(self, config: AuthConfig, *, now: Callable[[], float] = time.time) -> None:
        self._keys = [(key, _loaded(key)[1]) for key in config.keys]
        self._now = now
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()

    def principal(self, authorization: bytes | None) -> Principal:
        """Whom the header speaks for.

        Raises:
            Unauthenticated: there is no token, or it does not hold.
        """
        if authorization is None:
            raise Unauthenticated("A bearer token is needed.", token_given=False)
        known = self._verified.get(authorization)
        if known is not None:
            if self._now() < known.expires_at:
                self._verified.move_to_end(authorization)
                return known
            del self._verified[authorization]
        principal = self._verify(_token(authorization))
        self._verified[authorization] = principal
        if len(self._verified) > _CACHE_MAX:
            self._verified.popitem(last=False)
        return principal

    def _verify(self, token: bytes) -> Principal:
        # Hostile until the signature holds: whatever a token does to its parser is the token's fault.
        try:
            header = jwt.get_unverified_header(token)
            keys = self._candidates(header.get("kid"), header.get("alg"))
        except Exception:  # noqa: BLE001 - see above
            raise Unauthenticated("The token is malformed.", token_given=True) from None
        for key, verifying in keys:
            try:
                claims = jwt.decode(
                    token,
                    verifying,
                    algorithms=[key.alg],
                    # A signer's clock may be a little ahead; only the expiry protects anyone.
                    options={
                        "require": ["exp"],
                        "verify_iat": False,
                        "verify_aud": False,
                        "verify_exp": False,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except Exception:  # noqa: BLE001 - see above
                raise Unauthenticated("The token does not hold.", token_given=True) from None
            return self._principal(claims)
        raise Unauthenticated("No key verifies the token.", token_given=True)

    def _candidates(self, kid: object, alg: object) -> list[tuple[AuthKey, Any]]:
        return [(key, loaded) for key, loaded in self._keys if key.alg == alg and kid in (None, key.kid)]

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        expires_at = claims["exp"]
        if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
            raise Unauthenticated("The token's exp is not a time.", token_given=True)
        if not self._now() < expires_at:
            raise Unauthenticated("The token has expired.", token_given=True)
        permissions = Permissions.of(_names(claims, "roles"), _names(claims, "permissions"))
        return Principal(_name(claims, "sub"), _name(claims, "tenant"), permissions, expires_at)


class Gate:
    """Tells who calls, or turns them away."""

    def __init__(self, verifier: TokenVerifier, tenants: Tenants) -> None:
        self._verifier = verifier
        self._tenants = tenants

    async def caller(self, call: Call) -> Caller:
        """Who calls.

        Raises:
            Unauthenticated: no token that holds.
            UnknownTenant: the token's tenant is not one of ours.
        """
        call.require_single_headers()
        principal = self._verifier.principal(call.headers.get(b"authorization"))
        tenant = await self._tenants(principal.tenant)
        if tenant is None:
            raise UnknownTenant("The token's tenant does not exist.")
        return Caller(tenant, principal.user, principal.permissions, principal.expires_at)


def _token(authorization: bytes) -> bytes:
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated("The Authorization header must be: Bearer <token>.", token_given=False)
    if len(token) > _TOKEN_BYTES_MAX:
        raise Unauthenticated("The token is too long.", token_given=True)
    return token


def _name(claims: Mapping[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Unauthenticated(f"The token's {claim} is missing or not a name.", token_given=True)
    return value


def _names(claims: Mapping[str, Any], claim: str) -> list[str]:
    value = claims.get(claim, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Unauthenticated(f"The token's {claim} are not a list of names.", token_given=True)
    return value


def _loaded(key: AuthKey) -> tuple[Any, Any]:
    """What signs (None when it cannot) and what verifies."""
    raw = key.key.encode() if isinstance(key.key, str) else key.key
    if key.alg == "HS256":
        if len(raw) < SECRET_BYTES_MIN:
            raise ValueError(f"the secret of key {key.kid} is shorter than {SECRET_BYTES_MIN} bytes")
        if b"-----BEGIN" in raw:
            raise ValueError(f"key {key.kid} is for HS256, but is a PEM file")
        return raw, raw
    if b"PRIVATE KEY" in raw:
        private = load_pem_private_key(raw, password=None)
        if isinstance(private, Ed25519PrivateKey):
            return private, private.public_key()
    else:
        public = load_pem_public_key(raw)
        if isinstance(public, Ed25519PublicKey):
            return None, public
    raise ValueError(f"key {key.kid} is not an Ed25519 key")
