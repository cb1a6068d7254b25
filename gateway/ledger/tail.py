"""The hashes of a shard's newest records, behind the last full tile, as the notary read them before it signed.

With them a changed record there is named by its number; the writer's tiles do the same for all records before.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from gateway.ledger.tree import WIDTH, Tree


class Tail(NamedTuple):
    """``hashes``, concatenated, are the last leaf hashes of a tree of ``size`` records, from its open tile on."""

    size: int
    hashes: bytes

    @classmethod
    def of(cls, tree: Tree) -> Tail:
        """The tail of ``tree``."""
        return cls(tree.size, b"".join(tree.levels[0]))

    def changed(self, tree: Tree, root: bytes) -> list[int]:
        """The records of ``tree`` that are not those that ``root`` was signed for; [] where that cannot be said.

        Nothing is believed: these hashes must lead to ``root`` on top of the full tiles of ``tree``.
        """
        count = self.size % WIDTH
        hashes = [bytes(part) for part in zip(*[iter(self.hashes)] * 32, strict=False)]
        if len(hashes) != count or self.size // WIDTH != tree.size // WIDTH or self.size > tree.size:
            return []
        if Tree(self.size, [hashes, *tree.levels[1:]]).root() != root:
            return []
        first = self.size - count
        pairs = zip(hashes, itertools.islice(tree.levels[0], count), strict=True)
        return [first + place for place, (signed, read) in enumerate(pairs) if signed != read]
