"""The Merkle tree against the definitions of RFC 9162, section 2.1, written out as they stand there."""

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.merkle import (
    EMPTY_ROOT,
    Node,
    Span,
    complete_subtrees,
    consistency_spans,
    grow,
    inclusion_proof,
    inclusion_spans,
    root,
    span_hash,
    verify_consistency,
    verify_inclusion,
)

# The entries and roots that the Certificate Transparency projects test with.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaf(entry: bytes) -> bytes:
    return sha256(b"\0" + entry).digest()


def some_leaves(count: int) -> list[bytes]:
    return [leaf(str(n).encode()) for n in range(count)]


# The definitions.


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d: Sequence[bytes]) -> bytes:
    if not d:
        return sha256(b"").digest()
    if len(d) == 1:
        return d[0]
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: Sequence[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: Sequence[bytes], *, known: bool) -> list[bytes]:
    if m == len(d):
        return [] if known else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], known=known), mth(d[k:])]
    return [*subproof(m - k, d[k:], known=False), mth(d[:k])]


def by_nodes(leaves: Sequence[bytes]) -> Callable[[Node], bytes]:
    """Answers with complete subtrees only, as the database does."""

    def hash_of(node: Node) -> bytes:
        below = leaves[node.nth << node.level : (node.nth + 1) << node.level]
        assert len(below) == 1 << node.level, "it is not complete"
        return mth(below)

    return hash_of


sizes = st.integers(1, 130)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(sizes)
    return draw(st.integers(1, size)), size


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [leaf(entry) for entry in ENTRIES[:size]]
    assert root(leaves).hex() == mth(leaves).hex() == ROOTS[size]


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == ROOTS[0]


@given(sizes)
def test_complete_subtrees_give_the_root_that_all_leaves_give(size: int) -> None:
    leaves = some_leaves(size)
    assert span_hash(Span(0, size), by_nodes(leaves)) == root(leaves) == mth(leaves)


@given(pairs())
def test_inclusion_proofs_are_those_of_the_definition_and_verify(pair: tuple[int, int]) -> None:
    index, size = pair[0] - 1, pair[1]
    leaves = some_leaves(size)
    proof = [span_hash(span, by_nodes(leaves)) for span in inclusion_spans(index, size)]
    assert proof == inclusion_proof(index, leaves) == path(index, leaves)
    assert verify_inclusion(leaves[index], index, size, proof, mth(leaves))


@given(pairs())
def test_consistency_proofs_are_those_of_the_definition_and_verify(pair: tuple[int, int]) -> None:
    old, size = pair
    leaves = some_leaves(size)
    proof = [span_hash(span, by_nodes(leaves)) for span in consistency_spans(old, size)]
    assert proof == subproof(old, leaves, known=True)
    assert verify_consistency(old, mth(leaves[:old]), size, mth(leaves), proof)


@given(pairs(), st.data())
def test_an_inclusion_proof_holds_for_nothing_else(pair: tuple[int, int], data: st.DataObject) -> None:
    """Another leaf, index, size, root or proof: each is refused."""
    index, size = pair[0] - 1, pair[1]
    leaves = some_leaves(size)
    proof, top = path(index, leaves), mth(leaves)
    other_index = data.draw(st.integers(0, size).filter(lambda n: n != index))
    assert not verify_inclusion(leaf(b"never"), index, size, proof, top)
    assert not verify_inclusion(leaves[index], other_index, size, proof, top)
    assert not verify_inclusion(leaves[index], index, size, proof, leaf(b"never"))
    assert not verify_inclusion(leaves[index], index, size, [*proof, leaf(b"more")], top)
    if proof:
        assert not verify_inclusion(leaves[index], index, size, proof[:-1], top)
        changed = data.draw(st.integers(0, len(proof) - 1))
        forged = [*proof[:changed], leaf(b"never"), *proof[changed + 1 :]]
        assert not verify_inclusion(leaves[index], index, size, forged, top)


@given(pairs(), st.data())
def test_a_changed_past_has_no_consistency_proof(pair: tuple[int, int], data: st.DataObject) -> None:
    """Whatever is done to an event that an old head covers, no honest proof joins the two heads."""
    old, size = pair
    leaves = some_leaves(size)
    changed = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves[:changed], leaf(b"never"), *leaves[changed + 1 :]]
    proof = subproof(old, rewritten, known=True)
    assert not verify_consistency(old, mth(leaves[:old]), size, mth(rewritten), proof)
    assert not verify_consistency(old, mth(rewritten[:old]), size, mth(leaves), proof)


@given(pairs(), st.data())
def test_a_consistency_proof_with_a_hash_more_less_or_other_is_refused(
    pair: tuple[int, int], data: st.DataObject
) -> None:
    old, size = pair
    leaves = some_leaves(size)
    proof = subproof(old, leaves, known=True)

    def holds(forged: Sequence[bytes]) -> bool:
        return verify_consistency(old, mth(leaves[:old]), size, mth(leaves), forged)

    assert not holds([*proof, leaf(b"more")])
    if proof:
        changed = data.draw(st.integers(0, len(proof) - 1))
        assert not holds(proof[:-1])
        assert not holds([*proof[:changed], leaf(b"never"), *proof[changed + 1 :]])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_spans(index, size)
    assert not verify_inclusion(leaf(b""), index, size, [], leaf(b""))


@pytest.mark.parametrize(("old", "size"), [(0, 3), (4, 3)])
def test_no_proof_of_a_tree_that_is_no_beginning(old: int, size: int) -> None:
    with pytest.raises(ValueError, match="cannot be proved"):
        consistency_spans(old, size)
    assert not verify_consistency(old, leaf(b""), size, leaf(b""), [])


@given(st.lists(st.integers(0, 40), max_size=8))
def test_growing_in_any_steps_gives_every_complete_subtree_once(steps: list[int]) -> None:
    leaves = some_leaves(sum(steps))
    frontier: dict[int, bytes] = {}
    grown: list[tuple[Node, bytes]] = []
    size = 0
    for step in steps:
        grown += grow(frontier, size, leaves[size : size + step])
        size += step
    expected = {
        Node(level, nth): mth(leaves[nth << level : (nth + 1) << level])
        for level in range(1, 10)
        for nth in range(size >> level)
    }
    assert dict(grown) == expected
    assert len(grown) == len(expected)
    assert frontier == {node.level: by_nodes(leaves)(node) for node in complete_subtrees(Span(0, size))}
