"""Finding the end of a shard's tree again from stored tiles and the leaves behind the last full one."""

from __future__ import annotations

from gateway.ledger import merkle
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.reader import ShardReader
from gateway.ledger.tree import HEIGHT, WIDTH, Tree


def load_tree(reader: ShardReader, size: int) -> Tree:
    """The tree over the first ``size`` leaves; reads at most 255 leaves and 255 tiles a level. Of leaves that were
    pruned since, the hashes are in a tile.

    Raises: LedgerCorrupt when leaves or tiles are missing.
    """
    start = size // WIDTH * WIDTH
    rows = reader.read(start, size - start) if size > start else []
    if [seq for seq, _ in rows] == list(range(start, size)):
        last = [merkle.leaf_hash(leaf) for _, leaf in rows]
    elif (tile := reader.tile(0, start // WIDTH)) is not None and len(tile) == WIDTH * 32:
        last = [tile[at : at + 32] for at in range(0, (size - start) * 32, 32)]
    else:
        raise LedgerCorrupt(f"shard {reader.shard!r}: leaves are missing between {start} and {size}")
    levels = [last]
    while full := size >> (HEIGHT * len(levels)):
        depth = len(levels) - 1
        levels.append([_tile_root(reader, depth, n) for n in range(full // WIDTH * WIDTH, full)])
    return Tree(size, levels)


def _tile_root(reader: ShardReader, level: int, n: int) -> bytes:
    hashes = reader.tile(level, n)
    if hashes is None or len(hashes) != WIDTH * 32:
        raise LedgerCorrupt(f"shard {reader.shard!r}: tile {level}/{n} is missing or cut")
    return merkle.perfect_root([hashes[i : i + 32] for i in range(0, len(hashes), 32)])
