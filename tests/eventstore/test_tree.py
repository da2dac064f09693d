"""The tree as Postgres keeps it: equal to one made from all leaves at once, whatever happened in between."""

import random
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from itertools import combinations_with_replacement
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from erp.embedded.address import with_user
from eventstore import merkle
from eventstore.proofs import (
    Connection,
    NotInTree,
    consistency_proof,
    inclusion_proof,
    latest_head,
    tenant_count,
)
from eventstore.tree import Tree, TreeBeyondLog
from eventstore.tree_head import (
    HeadSigner,
    SignedHead,
    TreeHead,
    tenant_leaf,
    tenants_root,
    verify_signature,
    verify_tenant_count,
)
from tests.eventstore.conftest import new_tenant
from tests.eventstore.requests import call, one_event

pytestmark = pytest.mark.integration

KEY = Ed25519PrivateKey.generate()
SIGNER = HeadSigner("k1", KEY)
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def append(owner_url: str, *tenants: UUID) -> None:
    """One event of a new stream for each tenant named."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        if tenants:
            call(connection, *map(one_event, tenants))


async def connect(owner_url: str, role: str = "erp_relay") -> Connection:
    return await psycopg.AsyncConnection.connect(with_user(owner_url, role), autocommit=True)


async def fold(tree: Tree) -> None:
    while await tree.extend():
        pass


def leaves(owner_url: str) -> list[bytes]:
    with psycopg.connect(owner_url) as connection:
        rows = connection.execute("SELECT leaf_hash FROM erp.events ORDER BY position").fetchall()
    return [leaf for (leaf,) in rows]


class History:
    """Appends, folds, heads and restarts in a random order."""

    def __init__(self, owner_url: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.url = owner_url
        self.tenants = [new_tenant(owner_url) for _ in range(3)]
        self.counts: Counter[UUID] = Counter()
        self.signed: list[tuple[SignedHead, Counter[UUID]]] = []

    async def run(self, steps: int) -> None:
        async with await connect(self.url) as connection:
            tree = await Tree.resume(connection)
            for _ in range(steps):
                match self.chance.choice(["append", "append", "fold", "head", "restart"]):
                    case "append":
                        self.append()
                    case "fold":
                        await tree.extend()
                    case "head":
                        await self.sign(tree)
                    case "restart":
                        tree = await Tree.resume(connection)
            self.append()
            await self.sign(tree)
            assert not tree.has_grown()

    def append(self) -> None:
        batch = self.chance.choices(self.tenants, weights=[5, 3, 1], k=self.chance.choice([1, 2, 7, 30]))
        append(self.url, *batch)
        self.counts.update(batch)

    async def sign(self, tree: Tree) -> None:
        await fold(tree)
        if tree.has_grown():
            self.signed.append((await tree.sign(SIGNER), self.counts.copy()))


async def check_head(
    reader: Connection, signed: SignedHead, counted: Counter[UUID], everything: list[bytes]
) -> None:
    """Signature, root, size, the count of each tenant, and the place of each event."""
    head = signed.head
    assert verify_signature(signed, PUBLIC)
    assert head.root_hash == merkle.root(everything[: head.tree_size])
    assert head.tree_size == counted.total()
    for tenant in counted:
        stated = await tenant_count(reader, tenant, head.tree_size)
        assert stated.events == counted[tenant]
        assert verify_tenant_count(stated, head)
        assert not verify_tenant_count(stated._replace(events=stated.events - 1), head)
    for position in range(1, head.tree_size + 1, 7):
        proof = await inclusion_proof(reader, position, head.tree_size)
        leaf = everything[position - 1]
        assert merkle.verify_inclusion(leaf, position - 1, head.tree_size, proof, head.root_hash)


@pytest.mark.parametrize("seed", range(3))
async def test_heads_and_proofs_are_those_of_the_whole_log(own_url: str, seed: int) -> None:
    """Whatever happened in between, every claim holds when it is checked from outside."""
    history = History(own_url, seed)
    await history.run(25)
    everything = leaves(own_url)
    async with await connect(own_url, "erp_reader") as reader:
        for signed, counted in history.signed:
            await check_head(reader, signed, counted, everything)
        for (older, _), (newer, _) in combinations_with_replacement(history.signed, 2):
            old, new = older.head, newer.head
            proof = await consistency_proof(reader, old.tree_size, new.tree_size)
            assert merkle.verify_consistency(
                old.tree_size, old.root_hash, new.tree_size, new.root_hash, proof
            )


async def test_a_head_does_not_become_older_when_the_clock_is_set_back(
    own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = new_tenant(own_url)
    async with await connect(own_url) as connection:
        append(own_url, tenant)
        tree = await Tree.resume(connection)
        await fold(tree)
        first = await tree.sign(SIGNER)
        append(own_url, tenant)
        await fold(tree)

        class Earlier:
            @staticmethod
            def now(_zone: object) -> object:
                return first.head.signed_at.replace(year=2020)

        monkeypatch.setattr("eventstore.tree.datetime", Earlier)
        second = await tree.sign(SIGNER)
    assert second.head.signed_at > first.head.signed_at


async def test_of_two_that_fold_at_once_one_is_refused(own_url: str) -> None:
    append(own_url, *[new_tenant(own_url)] * 40)
    async with await connect(own_url) as one, await connect(own_url) as other:
        first, second = await Tree.resume(one), await Tree.resume(other)
        await fold(first)
        with pytest.raises(psycopg.errors.UniqueViolation):
            await second.extend()
        await first.sign(SIGNER)
        resumed = await Tree.resume(other)
        await fold(resumed)
        assert resumed.size == 40
        assert not resumed.has_grown()


async def test_what_was_folded_and_signed_cannot_be_changed(own_url: str) -> None:
    append(own_url, *[new_tenant(own_url)] * 16)
    async with await connect(own_url) as connection:
        tree = await Tree.resume(connection)
        await fold(tree)
        await tree.sign(SIGNER)
    changes = [
        f"{change} erp.{table}{rest}"
        for table in ("merkle_nodes", "tree_heads", "tenant_counts")
        for change, rest in (
            ("DELETE FROM", ""),
            ("TRUNCATE", " CASCADE"),
            ("UPDATE", " SET (level) = (5)" if table == "merkle_nodes" else " SET tree_size = 7"),
        )
    ]
    for role in ("erp_relay", "postgres"):
        with psycopg.connect(with_user(own_url, role), autocommit=True) as connection_:
            for change in changes:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection_.execute(change.replace("SET (level) = (5)", "SET level = 5").encode())


async def test_a_log_shorter_than_its_tree_is_refused(own_url: str) -> None:
    append(own_url, *[new_tenant(own_url)] * 20)
    async with await connect(own_url) as connection:
        tree = await Tree.resume(connection)
        await fold(tree)
        await tree.sign(SIGNER)
        with psycopg.connect(own_url, autocommit=True) as owner:
            owner.execute("ALTER TABLE erp.events DISABLE TRIGGER ALL")
            owner.execute("DELETE FROM erp.events WHERE position > 19")
        with pytest.raises(TreeBeyondLog, match="20 events"):
            await Tree.resume(connection)


async def test_a_proof_that_cannot_be_given_is_refused(own_url: str) -> None:
    tenant, other = new_tenant(own_url), new_tenant(own_url)
    append(own_url, *[tenant] * 5)
    async with await connect(own_url) as connection:
        tree = await Tree.resume(connection)
        assert await latest_head(connection) is None
        await fold(tree)
        signed = await tree.sign(SIGNER)
        assert await latest_head(connection) == await latest_head(connection, 5) == signed
        assert await latest_head(connection, 4) is None
        for position, size in ((6, 5), (0, 5), (1, 0), (3, 64), (3, 7)):
            with pytest.raises(NotInTree):
                await inclusion_proof(connection, position, size)
        for old, size in ((0, 5), (6, 5), (3, 64), (3, 7)):
            with pytest.raises(NotInTree):
                await consistency_proof(connection, old, size)
        for of, size in ((other, 5), (tenant, 4)):
            with pytest.raises(NotInTree):
                await tenant_count(connection, of, size)


async def test_a_tenant_gets_its_proof_and_sees_no_other_count(own_url: str) -> None:
    mine, other = new_tenant(own_url), new_tenant(own_url)
    append(own_url, mine, other, other)
    async with await connect(own_url) as connection:
        tree = await Tree.resume(connection)
        await fold(tree)
        head = (await tree.sign(SIGNER)).head
    async with await connect(own_url, "erp_app") as app:
        await app.execute("SELECT set_config('erp.tenant', %s, false)", [str(mine)])
        stated = await tenant_count(app, mine, 3)
        assert verify_tenant_count(stated, head)
        assert stated.events == 1
        assert merkle.verify_inclusion(
            leaves(own_url)[0], 0, 3, await inclusion_proof(app, 1, 3), head.root_hash
        )
        with pytest.raises(NotInTree):
            await tenant_count(app, other, 3)
        for table in ("relay", "merkle_nodes", "tree_heads", "tenant_counts"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await app.execute(f"DELETE FROM erp.{table}".encode())


async def test_the_relay_may_not_touch_the_log_nor_see_more_than_it(own_url: str) -> None:
    append(own_url, new_tenant(own_url))
    async with await connect(own_url) as relay:
        for forbidden in (
            "DELETE FROM erp.events",
            "INSERT INTO erp.events SELECT * FROM erp.events",
            "SELECT * FROM erp.commands",
            "SELECT * FROM erp.snapshots",
            "SELECT erp.append_events('{}')",
            "DELETE FROM erp.relay",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await relay.execute(forbidden)


def test_a_signature_is_of_this_head_by_this_key() -> None:
    head = TreeHead(5, b"r" * 32, datetime(2026, 7, 1, tzinfo=UTC), 2, b"t" * 32)
    signed = SIGNER.sign(head)
    other = Ed25519PrivateKey.generate().public_key()
    other_pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert verify_signature(signed, PUBLIC)
    assert not verify_signature(signed, other_pem)
    for change in ({"tree_size": 6}, {"root_hash": b"x" * 32}, {"tenants": 3}, {"tenants_root": b"x" * 32}):
        assert not verify_signature(signed._replace(head=head._replace(**change)), PUBLIC)


def test_what_is_signed_is_laid_out_as_documented() -> None:
    """docs/reference/tree-heads.md, row by row."""
    head = TreeHead(5, b"r" * 32, datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC), 2, b"t" * 32)
    integers = [number.to_bytes(8, "big") for number in (5, 1_000_000, 2)]
    size, signed_at, tenants = integers
    prefix = b"KILLER ERP tree head\0v1\0"
    assert head.to_bytes() == prefix + size + signed_at + b"r" * 32 + tenants + b"t" * 32
    tenant = UUID("018f0000-0000-7000-8000-000000000001")
    leaf = sha256(b"\0" + tenant.bytes + (7).to_bytes(8, "big")).digest()
    assert tenant_leaf(tenant, 7) == tenants_root({tenant: 7}) == leaf


def test_a_signer_is_made_from_pem() -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    head = TreeHead(1, b"r" * 32, datetime(2026, 7, 1, tzinfo=UTC), 1, b"t" * 32)
    assert verify_signature(HeadSigner.from_pem("k", pem).sign(head), PUBLIC)
