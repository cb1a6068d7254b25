"""The growing end of a shard's tree, kept as C2SP tiles: 256 hashes wide, eight tree levels high.

Only hashes of the last, partial tile of each level are held (at most 255 x 32 B x levels). A tile that
becomes full is handed out once, to be stored; its root moves one level up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.ledger import merkle

WIDTH = 256
HEIGHT = 8


class Tile(NamedTuple):
    """A full tile: ``hashes`` are its 256 entries, concatenated."""

    level: int
    n: int
    hashes: bytes


class Tree:
    """The open tiles of a tree of ``size`` leaves. ``levels[k]`` holds roots of subtrees of 256**k leaves."""

    __slots__ = ("levels", "size")

    def __init__(self, size: int = 0, levels: list[list[bytes]] | None = None) -> None:
        self.size = size
        self.levels = levels if levels is not None else [[]]

    def snapshot(self) -> Tree:
        """A copy that later adds do not touch."""
        return Tree(self.size, [list(level) for level in self.levels])

    def add(self, leaf_hash: bytes) -> list[Tile]:
        """Append a leaf hash; returns the tiles that became full (almost always none)."""
        level = self.levels[0]
        level.append(leaf_hash)
        self.size += 1
        return self._carry() if len(level) == WIDTH else []

    def extend(self, hashes: Sequence[bytes]) -> list[Tile]:
        """As ``add`` for each of ``hashes``, in order."""
        full: list[Tile] = []
        at = 0
        while at < len(hashes):
            level = self.levels[0]
            some = hashes[at : at + WIDTH - len(level)]
            level += some
            at += len(some)
            self.size += len(some)
            if len(level) == WIDTH:
                full += self._carry()
        return full

    def _carry(self) -> list[Tile]:
        full = []
        for depth in range(len(self.levels) + 1):
            level = self.levels[depth]
            if len(level) < WIDTH:
                break
            n = (self.size >> (HEIGHT * (depth + 1))) - 1
            full.append(Tile(depth, n, b"".join(level)))
            if depth + 1 == len(self.levels):
                self.levels.append([])
            self.levels[depth + 1].append(merkle.perfect_root(level))
            self.levels[depth] = []
        return full

    def root(self) -> bytes:
        """RFC 9162 root over all leaves."""
        parts = []
        for level in reversed(self.levels):
            for depth, index in merkle.peaks(0, len(level)):
                first = index << depth
                parts.append(merkle.perfect_root(level[first : first + (1 << depth)]))
        return merkle.fold(parts)
