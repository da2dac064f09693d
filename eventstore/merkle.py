"""The Merkle tree of RFC 9162, section 2.1, over hashes of leaves, and the proofs that it gives. Pure.

A tree of `size` leaves is made of its complete subtrees: the nth of 2^level leaves, `Node(level, nth)`, never
changes once it is complete. So a proof asks for a few of those, and folds them.

To verify needs nothing but this file: `verify_inclusion` shows that a leaf is in the tree with a given root,
`verify_consistency` that a tree is the beginning of a later one. Hashes are 32 bytes of SHA-256.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

EMPTY_ROOT: Final = sha256().digest()

_NODE_PREFIX: Final = b"\x01"


class Node(NamedTuple):
    """A complete subtree: of 2^level leaves, the nth from the left, counted from 0. Level 0: a leaf."""

    level: int
    nth: int


class Span(NamedTuple):
    """The leaves from `start` to before `end`, which the tree has as one subtree."""

    start: int
    end: int


HashOf = Callable[[Node], bytes]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (section 2.1.1)."""
    return sha256(_NODE_PREFIX + left + right).digest()


def complete_subtrees(span: Span) -> Iterator[Node]:
    """The fewest complete subtrees that make up the span, from left to right."""
    start = span.start
    while start < span.end:
        level = (span.end - start).bit_length() - 1
        if start:  # it begins at a multiple of its own size
            level = min(level, (start & -start).bit_length() - 1)
        yield Node(level, start >> level)
        start += 1 << level


def span_hash(span: Span, hash_of: HashOf) -> bytes:
    """MTH of the span's leaves (section 2.1.1)."""
    if span.start == span.end:
        return EMPTY_ROOT
    # Larger subtrees stand to the left, so folding from the right pairs them as the definition does.
    *others, last = [hash_of(node) for node in complete_subtrees(span)]
    for other in reversed(others):
        last = node_hash(other, last)
    return last


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes."""
    row = list(leaves)
    if not row:
        return EMPTY_ROOT
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        row = [*map(node_hash, row[0::2], row[1::2]), *odd]
    return row[0]


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Whose hashes are the inclusion proof of leaf `index` in the tree of `size` (PATH, section 2.1.3.1).

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[Span] = []
    here = Span(0, size)
    while here.end - here.start > 1:
        left, right = _halves(here)
        here, other = (left, right) if index < right.start else (right, left)
        path.append(other)
    return path[::-1]


def consistency_spans(old_size: int, size: int) -> list[Span]:
    """Whose hashes prove that the tree of `old_size` begins the tree of `size` (PROOF, section 2.1.4.1).

    Raises:
        ValueError: unless 0 < old_size <= size.
    """
    if not 0 < old_size <= size:
        raise ValueError(f"a tree of {old_size} leaves cannot be proved to begin one of {size}")
    if old_size == size:
        return []
    path: list[Span] = []
    here = Span(0, size)
    while here.end != old_size:
        left, right = _halves(here)
        here, other = (left, right) if old_size <= right.start else (right, left)
        path.append(other)
    if here.start:  # else it is the old tree itself, whose root the verifier has
        path.append(here)
    return path[::-1]


def _halves(span: Span) -> tuple[Span, Span]:
    """Split after the largest power of two that is smaller than its number of leaves."""
    middle = span.start + (1 << ((span.end - span.start - 1).bit_length() - 1))
    return Span(span.start, middle), Span(middle, span.end)


def nodes_of(spans: Iterable[Span]) -> set[Node]:
    """Which complete subtrees must be known to hash these spans."""
    return {node for span in spans for node in complete_subtrees(span)}


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The inclusion proof in the tree over these leaf hashes."""
    return [root(leaves[start:end]) for start, end in inclusion_spans(index, len(leaves))]


def grow(frontier: dict[int, bytes], size: int, leaves: Iterable[bytes]) -> Iterator[tuple[Node, bytes]]:
    """Add leaves to a tree of `size`; gives each subtree of two leaves or more that they complete.

    `frontier` has the hash of the tree's complete subtrees (`complete_subtrees(Span(0, size))`) by level, and
    is kept up to date.
    """
    for index, leaf in enumerate(leaves, size):
        level, hash_ = 0, leaf
        while index >> level & 1:
            hash_ = node_hash(frontier.pop(level), hash_)
            level += 1
            yield Node(level, index >> level), hash_
        frontier[level] = hash_


# --- what an auditor runs ---------------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> bool:
    """Whether the proof shows that this leaf hash is leaf `index` of the tree (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root_hash


def verify_consistency(
    old_size: int, old_root: bytes, size: int, root_hash: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the proof shows that the tree of `old_size` begins the tree of `size` (section 2.1.4.2)."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root_hash
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        return False
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == root_hash
