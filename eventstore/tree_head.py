"""Signed tree heads: what the whole log was at some moment, in 112 bytes and an Ed25519 signature. Pure.

A head states the size and root of the tree over the log and, by the root of a second tree, how many events
of each tenant are in it. Who holds one can later have it proved that the log only grew; and with the count of
one tenant, whose events are numbered without gaps, that nothing of that tenant was left out, without learning
anything of others. Layout and checks are published in docs/reference/tree-heads.md.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple, Self
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from eventstore import merkle

# Names the purpose, so that no signature made for anything else can be taken for this one.
_PREFIX: Final = b"KILLER ERP tree head\0v1\0"
_LAYOUT: Final = struct.Struct(">24sqq32sq32s")
_TENANT: Final = struct.Struct(">B16sq")
_LEAF_PREFIX: Final = 0
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class TreeHead(NamedTuple):
    """The tree over the log as it stood: the first `tree_size` events, in order of position."""

    tree_size: int
    root_hash: bytes
    signed_at: datetime
    tenants: int
    tenants_root: bytes

    def to_bytes(self) -> bytes:
        """What is signed."""
        return _LAYOUT.pack(
            _PREFIX,
            self.tree_size,
            (self.signed_at - _EPOCH) // _MICROSECOND,
            self.root_hash,
            self.tenants,
            self.tenants_root,
        )


class SignedHead(NamedTuple):
    """A tree head, the name of the key and its signature."""

    head: TreeHead
    kid: str
    signature: bytes


class TenantCount(NamedTuple):
    """How many events of a tenant a head covers, and the inclusion proof in the head's tree over tenants."""

    tenant: UUID
    events: int
    leaf_index: int
    proof: tuple[bytes, ...]


class HeadSigner:
    """Signs heads with one Ed25519 key."""

    def __init__(self, kid: str, key: Ed25519PrivateKey) -> None:
        self.kid = kid
        self._key = key

    @classmethod
    def from_pem(cls, kid: str, private_key: str) -> Self:
        """With the key in PEM (PKCS 8). ValueError when it is not Ed25519."""
        key = load_pem_private_key(private_key.encode(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("a tree head is signed with Ed25519")  # noqa: TRY004 - the wrong value, not type
        return cls(kid, key)

    def sign(self, head: TreeHead) -> SignedHead:
        """The head, signed."""
        return SignedHead(head, self.kid, self._key.sign(head.to_bytes()))


def tenant_leaf(tenant: UUID, events: int) -> bytes:
    """The leaf of a tenant in the tree over tenants."""
    return sha256(_TENANT.pack(_LEAF_PREFIX, tenant.bytes, events)).digest()


def tenants_root(events: Mapping[UUID, int]) -> bytes:
    """The root over the tenants that have events, in order of their ids' bytes."""
    ordered = sorted(events.items(), key=lambda item: item[0].bytes)
    return merkle.root([tenant_leaf(tenant, count) for tenant, count in ordered])


def verify_signature(signed: SignedHead, public_key: str) -> bool:
    """Whether the key, in PEM, has signed this head."""
    key = load_pem_public_key(public_key.encode())
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(signed.signature, signed.head.to_bytes())
    except InvalidSignature:
        return False
    return True


def verify_tenant_count(count: TenantCount, head: TreeHead) -> bool:
    """Whether the head states this number of events for the tenant."""
    leaf = tenant_leaf(count.tenant, count.events)
    return merkle.verify_inclusion(leaf, count.leaf_index, head.tenants, count.proof, head.tenants_root)
