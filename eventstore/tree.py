"""The Merkle tree over the log, as Postgres keeps it: folding, and signing heads.

Folding runs off the append path, in order of position, in transactions of its own. A crash at any moment
leaves a tree that is complete up to some multiple of 16 events, and the next run goes on from there. Nodes
and heads are never changed; of two that fold at once, one is refused by the primary key.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self
from uuid import UUID

from eventstore import merkle
from eventstore.merkle import Span
from eventstore.proofs import (
    KEPT_FROM_LEVEL,
    Connection,
    kept_hashes,
    last_position,
    latest_head,
    read_number,
    read_rows,
)
from eventstore.refusal import Refusal
from eventstore.tree_head import HeadSigner, SignedHead, TreeHead, tenants_root

_PAGE_EVENTS: Final = 8192


class TreeBeyondLog(Refusal):
    """The tree covers events that the log does not have."""


class Tree:
    """The growing tree. One process folds at a time; make it with `Tree.resume`."""

    def __init__(self, connection: Connection, kept_size: int, frontier: dict[int, bytes]) -> None:
        self._connection = connection
        self._frontier = frontier
        self._events: dict[UUID, int] = {}
        self._changed: set[UUID] = set()
        self.size = kept_size
        self.signed: SignedHead | None = None

    @classmethod
    async def resume(cls, connection: Connection) -> Self:
        """The tree as it was left.

        Raises:
            TreeBeyondLog: the log is shorter than the tree.
        """
        kept_size = await read_number(
            connection,
            "SELECT coalesce(max(index) + 1, 0) FROM erp.merkle_nodes WHERE level = %s",
            [KEPT_FROM_LEVEL],
        )
        kept_size <<= KEPT_FROM_LEVEL
        nodes = set(merkle.complete_subtrees(Span(0, kept_size)))
        hashes = await kept_hashes(connection, nodes)
        tree = cls(connection, kept_size, {node.level: hashes[node] for node in nodes})
        await tree._load_head()
        signed_size = tree.signed.head.tree_size if tree.signed else 0
        covered = max(tree.size, signed_size)
        if covered > await last_position(connection):
            raise TreeBeyondLog(
                f"the Merkle tree covers {covered} events, more than the log has: "
                "Postgres was restored from parts of different age"
            )
        await tree._count(signed_size, tree.size)
        return tree

    async def _load_head(self) -> None:
        self.signed = await latest_head(self._connection)
        rows = await read_rows(
            self._connection,
            """SELECT DISTINCT ON (tenant) tenant, events FROM erp.tenant_counts
                ORDER BY tenant, tree_size DESC""",
            [],
        )
        self._events = dict(rows)

    async def _count(self, after: int, up_to: int) -> None:
        """Catch up on the tenants of events that are folded already and in no head yet."""
        rows = await read_rows(
            self._connection,
            """SELECT tenant, max(tenant_seq) FROM erp.events
                WHERE position > %s AND position <= %s GROUP BY tenant""",
            [after, up_to],
        )
        for tenant, seq in rows:
            self._saw(tenant, seq)

    def _saw(self, tenant: UUID, seq: int) -> None:
        if seq > self._events.get(tenant, 0):
            self._events[tenant] = seq
            self._changed.add(tenant)

    async def extend(self) -> int:
        """Fold the next events, at most some thousands, and return how many there were."""
        rows = await read_rows(
            self._connection,
            """SELECT tenant, tenant_seq, leaf_hash FROM erp.events
                WHERE position > %s ORDER BY position LIMIT %s""",
            [self.size, _PAGE_EVENTS],
        )
        frontier = dict(self._frontier)
        grown = merkle.grow(frontier, self.size, (leaf for _, _, leaf in rows))
        await self._keep([(*node, hash_) for node, hash_ in grown if node.level >= KEPT_FROM_LEVEL])
        self._frontier = frontier
        self.size += len(rows)
        for tenant, seq, _ in rows:
            self._saw(tenant, seq)
        return len(rows)

    async def _keep(self, nodes: Sequence[tuple[int, int, bytes]]) -> None:
        if not nodes:
            return
        levels, indexes, hashes = map(list, zip(*nodes, strict=True))
        await self._connection.execute(
            """INSERT INTO erp.merkle_nodes (level, index, hash)
               SELECT * FROM unnest(%s::smallint[], %s::bigint[], %s::bytea[])""",
            [levels, indexes, hashes],
        )

    def has_grown(self) -> bool:
        """Whether there is more in it than the last head says."""
        return self.size > (self.signed.head.tree_size if self.signed else 0)

    async def sign(self, signer: HeadSigner) -> SignedHead:
        """Sign and keep a head of the tree as it is; it must have grown since the last."""
        now = datetime.now(UTC)
        if self.signed is not None:  # a clock that was set back makes no head older than the one before it
            now = max(now, self.signed.head.signed_at + timedelta(microseconds=1))
        ordered = merkle.complete_subtrees(Span(0, self.size))
        hashes = {node: self._frontier[node.level] for node in ordered}
        head = TreeHead(
            self.size,
            merkle.span_hash(Span(0, self.size), hashes.__getitem__),
            now,
            len(self._events),
            tenants_root(self._events),
        )
        signed = signer.sign(head)
        changed = sorted(self._changed)
        async with self._connection.transaction():
            await self._connection.execute(
                """INSERT INTO erp.tree_heads
                       (tree_size, root_hash, signed_at, tenants, tenants_root, kid, signature)
                   VALUES (%s, %s, %s, %s, %s, %s, %s)""",
                [*head, signed.kid, signed.signature],
            )
            await self._connection.execute(
                """INSERT INTO erp.tenant_counts (tenant, tree_size, events)
                   SELECT tenant, %s, events FROM unnest(%s::uuid[], %s::bigint[]) AS c (tenant, events)""",
                [self.size, changed, [self._events[tenant] for tenant in changed]],
            )
        self.signed = signed
        self._changed.clear()
        return signed
