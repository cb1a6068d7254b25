"""The growing end of a tree: roots as defined, tiles as C2SP lays them out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import merkle
from gateway.ledger.tree import Tile, Tree

from .test_merkle import defined_root

MANY = [merkle.leaf_hash(i.to_bytes(4)) for i in range(70_000)]


def grown(size: int) -> tuple[Tree, list[Tile]]:
    tree, tiles = Tree(), []
    for leaf in MANY[:size]:
        tiles += tree.add(leaf)
    return tree, tiles


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_500))
def test_the_root_is_the_defined_one(size: int) -> None:
    assert grown(size)[0].root() == defined_root(MANY[:size])


def test_full_tiles_come_once_and_lie_where_c2sp_says() -> None:
    tree, tiles = grown(70_000)
    assert [(tile.level, tile.n) for tile in tiles if tile.level == 1] == [(1, 0)]
    assert [tile.n for tile in tiles if tile.level == 0] == list(range(70_000 // 256))
    for tile in tiles:
        if tile.level == 0:
            assert tile.hashes == b"".join(MANY[tile.n * 256 : tile.n * 256 + 256])
    assert merkle.perfect_root([tiles[-1].hashes[i : i + 32] for i in range(0, 8192, 32)])
    upper = next(tile for tile in tiles if tile.level == 1)
    assert upper.hashes[:32] == defined_root(MANY[:256])
    assert tree.root() == defined_root(MANY)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=8))
def test_hashes_may_come_many_at_once(sizes: list[int]) -> None:
    tree, tiles = Tree(), []
    for size in sizes:
        tiles += tree.extend(MANY[tree.size : tree.size + size])
    one_by_one, same = grown(sum(sizes))
    assert (tree.size, tree.levels, tiles) == (one_by_one.size, one_by_one.levels, same)


def test_a_snapshot_is_not_touched_by_later_adds() -> None:
    tree, _ = grown(300)
    before, root = tree.snapshot(), tree.root()
    for leaf in MANY[300:1000]:
        tree.add(leaf)
    assert (before.size, before.root()) == (300, root)
    for leaf in MANY[300:1000]:
        before.add(leaf)
    assert before.root() == tree.root()
