"""The vault: seals personal data under a key per tenant and person, and opens it while that key is there.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits each time. What is sealed is bound to its tenant,
its subject and its key, so it opens nowhere else. The keys lie in the database, themselves sealed under a
master key that only the processes of the command side are given: a copy of the database alone opens nothing.

Keys are remembered for `REMEMBERED_S` seconds: so long a process may go on opening, and sealing, under one
that was deleted.
"""

import hashlib
import hmac
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.shared.personal import Personal

KEY_BYTES: Final = 32
REMEMBERED_S: Final = 5.0
_REMEMBERED_MAX: Final = 10_000
_NONCE_BYTES: Final = 12

Rows = Callable[[str, Sequence[Any]], Awaitable[list[Any]]]
"""All rows of a query; see `eventstore.store.EventStore.rows`."""


class WrongMasterKey(Exception):
    """There are keys that were sealed under another master key than the one given."""


class NotAsSealed(Exception):
    """It was changed since it was sealed, or is not what it says it is."""


class _Key(NamedTuple):
    id: UUID
    secret: AESGCM
    until: float


class Vault:
    """Seals and opens for every tenant."""

    def __init__(self, rows: Rows, master_key: bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows = rows
        self._master = AESGCM(master_key)
        self._mark = hmac.new(master_key, b"killer-erp personal data", hashlib.sha256).digest()[:16]
        self._clock = clock
        self._remembered: dict[tuple[UUID, str], _Key] = {}

    async def require_master_key(self) -> None:
        """Return if every key there is was sealed under the master key of this vault.

        Raises:
            WrongMasterKey: there is one that was not.
            Unavailable: the database cannot be reached.
        """
        in_use = await self._rows("SELECT erp.master_keys()", [])
        if any(bytes(mark) != self._mark for (mark,) in in_use):
            raise WrongMasterKey("personal data was sealed under another master key")

    async def seal(self, tenant: UUID, subject: str, value: Mapping[str, str]) -> Personal[Any]:
        """`value`, readable for as long as the subject's key is there; the first one makes the key.

        Raises:
            Unavailable: the database cannot be reached.
            WrongMasterKey: the subject's key is not sealed under ours.
        """
        key = self._known(tenant, subject) or await self._made(tenant, subject)
        data = _seal(key.secret, orjson.dumps(dict(value)), _bond(tenant, subject, key.id))
        return Personal(subject, key.id, b64encode(data).decode())

    async def open(self, tenant: UUID, personal: Personal[Any]) -> Mapping[str, str] | None:
        """What was sealed; None when its key is gone.

        Raises:
            Unavailable: the database cannot be reached.
            NotAsSealed: it is not what was sealed.
            WrongMasterKey: the subject's key is not sealed under ours.
        """
        key = self._known(tenant, personal.subject) or await self._found(tenant, personal.subject)
        if key is None or key.id != personal.key:
            return None
        try:
            data = b64decode(personal.sealed, validate=True)
            opened: Mapping[str, str] = orjson.loads(
                _open(key.secret, data, _bond(tenant, personal.subject, key.id))
            )
        except (InvalidTag, ValueError):
            raise NotAsSealed(f"what is sealed of {personal.subject} was changed") from None
        return opened

    def _known(self, tenant: UUID, subject: str) -> _Key | None:
        key = self._remembered.get((tenant, subject))
        return key if key is not None and self._clock() < key.until else None

    async def _found(self, tenant: UUID, subject: str) -> _Key | None:
        rows = await self._rows("SELECT key, wrapped FROM erp.find_subject_key(%s, %s)", [tenant, subject])
        return self._unwrapped(tenant, subject, *rows[0]) if rows else None

    async def _made(self, tenant: UUID, subject: str) -> _Key:
        new_id, new_secret = uuid4(), AESGCM.generate_key(bit_length=8 * KEY_BYTES)
        wrapped = _seal(self._master, new_secret, _bond(tenant, subject, new_id))
        ((key_id, kept),) = await self._rows(
            "SELECT key, wrapped FROM erp.subject_key(%s, %s, %s, %s, %s)",
            [tenant, subject, new_id, wrapped, self._mark],
        )
        return self._unwrapped(tenant, subject, key_id, kept)

    def _unwrapped(self, tenant: UUID, subject: str, key_id: UUID, wrapped: bytes) -> _Key:
        try:
            secret = AESGCM(_open(self._master, bytes(wrapped), _bond(tenant, subject, key_id)))
        except InvalidTag:
            raise WrongMasterKey(f"the key {key_id} was sealed under another master key") from None
        key = _Key(key_id, secret, self._clock() + REMEMBERED_S)
        # Taken out first, so that the order is that of time and the first is the oldest.
        self._remembered.pop((tenant, subject), None)
        self._remembered[tenant, subject] = key
        if len(self._remembered) > _REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        return key


def _bond(tenant: UUID, subject: str, key_id: UUID) -> bytes:
    """What the sealed data is bound to: it opens for the same tenant, subject and key only."""
    return orjson.dumps([tenant, subject, key_id])


def _seal(secret: AESGCM, data: bytes, bond: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + secret.encrypt(nonce, data, bond)


def _open(secret: AESGCM, sealed: bytes, bond: bytes) -> bytes:
    return secret.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bond)
