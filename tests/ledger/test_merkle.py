"""Proofs verify for every size and for nothing else; the oracle is the recursive definition of RFC 9162."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import merkle

LEAVES = [merkle.leaf_hash(bytes([i])) for i in range(70)]

# The test tree of RFC 6962's reference implementation: leaves and roots by size.
RFC_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
RFC_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def defined_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined_root(leaves[:k]) + defined_root(leaves[k:])).digest()


def read(level: int, index: int) -> bytes:
    return defined_root(LEAVES[index << level : (index + 1) << level])


def test_roots_of_the_reference_tree() -> None:
    leaves = [merkle.leaf_hash(bytes.fromhex(text)) for text in RFC_LEAVES]
    for size, expected in enumerate(RFC_ROOTS, start=1):
        assert defined_root(leaves[:size]).hex() == expected
        got = merkle.range_root(0, size, lambda level, i: defined_root(leaves[i << level : (i + 1) << level]))
        assert got.hex() == expected


def test_every_inclusion_proof_leads_to_the_root() -> None:
    for size in range(1, 70):
        root = defined_root(LEAVES[:size])
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, read)
            assert merkle.root_from_inclusion(index, size, LEAVES[index], proof) == root


def test_every_consistency_proof_leads_to_both_roots() -> None:
    for new in range(1, 70):
        for old in range(1, new):
            proof = merkle.consistency_proof(old, new, read)
            old_root = defined_root(LEAVES[:old])
            assert merkle.roots_from_consistency(old, new, old_root, proof) == (old_root, defined_root(LEAVES[:new]))


@given(st.integers(2, 69), st.data())
def test_no_other_leaf_place_or_proof_leads_to_the_root(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, read)
    root = defined_root(LEAVES[:size])
    bit = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(proof) - 1))
    flipped = (int.from_bytes(proof[at]) ^ (1 << bit)).to_bytes(32)
    assert merkle.root_from_inclusion(index, size, LEAVES[index], [*proof[:at], flipped, *proof[at + 1 :]]) != root
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
    assert _root(index, size, LEAVES[other], proof) != root
    assert _root(other, size, LEAVES[index], proof) != root
    for wrong in (proof[:-1], [*proof, proof[0]]):
        assert _root(index, size, LEAVES[index], wrong) != root


def _root(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes | None:
    try:
        return merkle.root_from_inclusion(index, size, leaf, proof)
    except ValueError:
        return None


@given(st.integers(1, 68), st.data())
def test_no_other_consistency_proof_leads_to_both_roots(old: int, data: st.DataObject) -> None:
    new = data.draw(st.integers(old + 1, 69))
    proof = merkle.consistency_proof(old, new, read)
    roots = (defined_root(LEAVES[:old]), defined_root(LEAVES[:new]))
    at = data.draw(st.integers(0, len(proof) - 1))
    flipped = (int.from_bytes(proof[at]) ^ (1 << data.draw(st.integers(0, 255)))).to_bytes(32)
    assert merkle.roots_from_consistency(old, new, roots[0], [*proof[:at], flipped, *proof[at + 1 :]]) != roots


def test_questions_outside_the_tree_are_refused() -> None:
    for index, size in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="not in a tree"):
            merkle.inclusion_proof(index, size, read)
        with pytest.raises(ValueError, match="not in a tree"):
            merkle.root_from_inclusion(index, size, LEAVES[0], [])
    with pytest.raises(ValueError, match="cannot extend"):
        merkle.consistency_proof(5, 3, read)
    assert merkle.consistency_proof(0, 9, read) == merkle.consistency_proof(9, 9, read) == []
    for old, new in ((0, 5), (5, 5), (6, 5)):
        with pytest.raises(ValueError, match="no consistency proof"):
            merkle.roots_from_consistency(old, new, b"", [])
    with pytest.raises(ValueError, match="too few"):
        merkle.roots_from_consistency(3, 5, b"", [])
    with pytest.raises(ValueError, match="too many"):
        merkle.roots_from_consistency(1, 2, LEAVES[0], LEAVES[:5])
