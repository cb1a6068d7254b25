"""Hashes of perfect subtrees of a stored shard: from tiles where they are full, from leaves behind them."""

from __future__ import annotations

from collections import OrderedDict

from gateway.ledger import merkle
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.reader import ShardReader
from gateway.ledger.tree import HEIGHT, WIDTH

_KEPT = 256


class ShardHashes:
    """A ``merkle.HashReader`` over one shard. Keeps the tiles that it used last."""

    def __init__(self, reader: ShardReader) -> None:
        self._reader = reader
        self._tiles: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    def __call__(self, level: int, index: int) -> bytes:
        """The subtree's hash; it must lie inside the shard. Raises: LedgerCorrupt when leaves are missing."""
        tier, inside = divmod(level, HEIGHT)
        first = index << inside
        hashes = self._entries(tier, first, 1 << inside)
        return merkle.perfect_root(hashes)

    def _entries(self, tier: int, first: int, count: int) -> list[bytes]:
        """``count`` hashes of subtrees of 256**tier leaves, all of one tile."""
        n, offset = divmod(first, WIDTH)
        tile = self._tile(tier, n)
        if tile is not None:
            return tile[offset : offset + count]
        if tier == 0:
            rows = self._reader.read(first, count)
            if [seq for seq, _ in rows] != list(range(first, first + count)):
                raise LedgerCorrupt(f"shard {self._reader.shard!r}: leaves are missing at {first}")
            return [merkle.leaf_hash(leaf) for _, leaf in rows]
        return [merkle.perfect_root(self._entries(tier - 1, i * WIDTH, WIDTH)) for i in range(first, first + count)]

    def _tile(self, tier: int, n: int) -> list[bytes] | None:
        key = (tier, n)
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        stored = self._reader.tile(tier, n)
        if stored is None:
            return None
        hashes = [stored[i : i + 32] for i in range(0, len(stored), 32)]
        if len(hashes) != WIDTH:
            raise LedgerCorrupt(f"shard {self._reader.shard!r}: tile {tier}/{n} is cut")
        self._tiles[key] = hashes
        if len(self._tiles) > _KEPT:
            self._tiles.popitem(last=False)
        return hashes
