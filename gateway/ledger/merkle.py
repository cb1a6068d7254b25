"""The Merkle tree of RFC 9162, as mathematics over one seam: how to get the hash of a perfect subtree.

A perfect subtree is named ``(level, index)``: it covers the leaves ``[index << level, (index + 1) << level)``.
Nothing here reads a file. Proofs are lists of hashes, from the leaf towards the root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

HashReader: TypeAlias = Callable[[int, int], bytes]
"""``(level, index) -> hash`` of a perfect subtree that lies inside the tree."""

EMPTY = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""

_sha256 = hashlib.sha256


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a leaf: SHA-256(0x00 || leaf)."""
    return _sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Root over ``hashes``, whose number is a power of two."""
    level = hashes
    while len(level) > 1:
        level = [_sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
    return level[0]


def peaks(start: int, end: int) -> list[tuple[int, int]]:
    """The perfect subtrees, left to right, that make up ``[start, end)``.

    ``start`` must be a multiple of the largest power of two that fits into the range; the ranges of
    RFC 9162 always are.
    """
    out = []
    while start < end:
        level = (end - start).bit_length() - 1
        out.append((level, start >> level))
        start += 1 << level
    return out


def fold(hashes: Iterable[bytes]) -> bytes:
    """Root over the peaks of a range, given left to right; ``EMPTY`` for none."""
    acc: bytes | None = None
    for item in reversed(list(hashes)):
        acc = item if acc is None else node_hash(item, acc)
    return EMPTY if acc is None else acc


def range_root(start: int, end: int, read: HashReader) -> bytes:
    """Root of the leaves ``[start, end)`` as they stand in an RFC 9162 tree."""
    return fold(read(level, index) for level, index in peaks(start, end))


def _split(size: int) -> int:
    """The largest power of two smaller than ``size`` (which is at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Proof that leaf ``index`` is in the tree of ``size`` leaves (RFC 9162, 2.1.3.1).

    Raises: ValueError when ``index`` is outside the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(range_root(middle, end, read))
            end = middle
        else:
            proof.append(range_root(start, middle, read))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """Proof that the tree of ``new`` leaves extends the one of ``old`` (RFC 9162, 2.1.4.1); [] if trivially so.

    Raises: ValueError when ``old`` is larger than ``new``.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend one of {old}")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(range_root(middle, end, read))
            end = middle
        else:
            proof.append(range_root(start, middle, read))
            start, whole = middle, False
    if not whole:
        proof.append(range_root(start, end, read))
    return proof[::-1]


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that ``proof`` leads to from the leaf hash (RFC 9162, 2.1.3.2); compare it with the signed one.

    Raises: ValueError when the proof's length does not fit.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    fn, sn, acc = index, size - 1, leaf
    for item in proof:
        if sn == 0:
            raise ValueError("the proof has too many hashes")
        if fn & 1 or fn == sn:
            acc = node_hash(item, acc)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            acc = node_hash(acc, item)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ValueError("the proof has too few hashes")
    return acc


def roots_from_consistency(old: int, new: int, old_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The two roots that ``proof`` leads to (RFC 9162, 2.1.4.2), for ``0 < old < new``.

    Raises: ValueError when the proof's length does not fit.
    """
    if not 0 < old < new:
        raise ValueError(f"no consistency proof leads from {old} to {new}")
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise ValueError("the proof has too few hashes")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = hashes[0]
    for item in hashes[1:]:
        if sn == 0:
            raise ValueError("the proof has too many hashes")
        if fn & 1 or fn == sn:
            first, second = node_hash(item, first), node_hash(item, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, item)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ValueError("the proof has too few hashes")
    return first, second
