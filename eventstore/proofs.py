"""Signed tree heads and the proofs that belong to them, from what the relay has folded and signed.

Any role may ask: hashes tell nothing of anybody's books. `tenant_count` alone reads as that tenant's auditor,
as the application with its tenant set, or as a role that sees every tenant.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

import psycopg

from eventstore import merkle
from eventstore.merkle import Node, Span
from eventstore.tree_head import SignedHead, TenantCount, TreeHead

KEPT_FROM_LEVEL: Final = 4
"""Smaller subtrees are computed from at most eight leaf hashes when asked for: a tenth of the rows to keep.
"""

Connection = psycopg.AsyncConnection[Any]


class NotInTree(Exception):
    """The proof asked for does not exist: no such leaf, or no tree of that size yet."""


async def last_position(connection: Connection) -> int:
    """The position of the last event, 0 when there is none. As a role that sees every tenant."""
    return await read_number(
        connection, "SELECT coalesce((SELECT position FROM erp.events ORDER BY position DESC LIMIT 1), 0)", []
    )


async def latest_head(connection: Connection, tree_size: int | None = None) -> SignedHead | None:
    """The last signed head, or that of `tree_size`; None when there is none."""
    rows = await read_rows(
        connection,
        """SELECT tree_size, root_hash, signed_at, tenants, tenants_root, kid, signature FROM erp.tree_heads
            WHERE %s::bigint IS NULL OR tree_size = %s ORDER BY tree_size DESC LIMIT 1""",
        [tree_size, tree_size],
    )
    for *head, kid, signature in rows:
        return SignedHead(TreeHead(*head), kid, signature)
    return None


async def inclusion_proof(connection: Connection, position: int, tree_size: int) -> list[bytes]:
    """That the event at `position` is in the tree of `tree_size`: leaf `position - 1`.

    Raises:
        NotInTree: it is not, or there is no tree of that size yet.
    """
    try:
        spans = merkle.inclusion_spans(position - 1, tree_size)
    except ValueError as error:
        raise NotInTree(str(error)) from None
    return await _hash_spans(connection, spans, tree_size)


async def consistency_proof(connection: Connection, old_size: int, tree_size: int) -> list[bytes]:
    """That the tree of `old_size` is the beginning of the tree of `tree_size`.

    Raises:
        NotInTree: it is not, or there is no tree of that size yet.
    """
    try:
        spans = merkle.consistency_spans(old_size, tree_size)
    except ValueError as error:
        raise NotInTree(str(error)) from None
    return await _hash_spans(connection, spans, tree_size)


async def tenant_count(connection: Connection, tenant: UUID, tree_size: int) -> TenantCount:
    """How many events of the tenant the head of `tree_size` covers, with the proof.

    Raises:
        NotInTree: there is no such head, or it covers nothing of the tenant.
    """
    rows = await read_rows(
        connection,
        """SELECT leaf_hash, is_of_tenant FROM erp.tenant_leaves(%s, %s)
            WHERE EXISTS (SELECT FROM erp.tree_heads WHERE tree_size = %s)""",
        [tree_size, tenant, tree_size],
    )
    events = await read_rows(
        connection,
        """SELECT events FROM erp.tenant_counts WHERE tenant = %s AND tree_size <= %s
            ORDER BY tree_size DESC LIMIT 1""",
        [tenant, tree_size],
    )
    index = next((index for index, (_, is_of_tenant) in enumerate(rows) if is_of_tenant), None)
    if index is None or not events:
        raise NotInTree(f"there is no head of {tree_size} events that covers any of this tenant")
    proof = merkle.inclusion_proof(index, [leaf for leaf, _ in rows])
    return TenantCount(tenant, events[0][0], index, tuple(proof))


async def _hash_spans(connection: Connection, spans: Sequence[Span], tree_size: int) -> list[bytes]:
    nodes = merkle.nodes_of(spans)
    low = {node for node in nodes if node.level < KEPT_FROM_LEVEL}
    try:
        hashes = await kept_hashes(connection, nodes - low)
        leaves = await _leaves(connection, low)
        for node in low:
            start = node.nth << node.level
            hashes[node] = merkle.root([leaves[start + n] for n in range(1 << node.level)])
    except KeyError:
        raise NotInTree(f"there is no tree of {tree_size} events yet") from None
    return [merkle.span_hash(span, hashes.__getitem__) for span in spans]


async def kept_hashes(connection: Connection, nodes: Collection[Node]) -> dict[Node, bytes]:
    """The hashes of these nodes. KeyError when one is not there yet."""
    rows = await read_rows(
        connection,
        """SELECT level, index, hash FROM erp.merkle_nodes
             JOIN unnest(%s::smallint[], %s::bigint[]) AS asked (level, index) USING (level, index)""",
        [[node.level for node in nodes], [node.nth for node in nodes]],
    )
    found = {Node(level, nth): hash_ for level, nth, hash_ in rows}
    return {node: found[node] for node in nodes}


async def _leaves(connection: Connection, nodes: Collection[Node]) -> dict[int, bytes]:
    """The leaf hashes below these nodes, by index of leaf."""
    first = [(node.nth << node.level) + 1 for node in nodes]
    last = [(node.nth + 1) << node.level for node in nodes]
    rows = await read_rows(
        connection,
        """SELECT l.position, l.leaf_hash FROM unnest(%s::bigint[], %s::bigint[]) AS asked (first, last)
            CROSS JOIN LATERAL erp.leaf_hashes(asked.first, asked.last) AS l""",
        [first, last],
    )
    return {position - 1: leaf for position, leaf in rows}


async def read_number(connection: Connection, query: str, parameters: Sequence[Any]) -> int:
    """The one number that the query gives."""
    ((number,),) = await read_rows(connection, query, parameters)
    return int(number)


async def read_rows(connection: Connection, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """All rows of a short query."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(query.encode(), parameters, prepare=True)
    return await cursor.fetchall()
