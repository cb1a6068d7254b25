"""What one statement writes is what its parts were, whatever they were."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import batch, segment
from gateway.ledger.events import MAX_LEAF
from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.tree import Tile

_WORDS = st.integers(0, (1 << 63) - 1)
_BYTES = st.binary(max_size=70)


def opened() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("PRAGMA trusted_schema=0")
    db.executescript(segment._TABLES)
    batch.prepare(db)
    return db


def table(db: sqlite3.Connection, name: str) -> list[tuple[object, ...]]:
    return list(db.execute(f"SELECT * FROM {name}"))


@settings(max_examples=150, deadline=None)
@given(
    first=st.integers(0, 1 << 50),
    leaves=st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=3 * batch.PIECE),
    payloads=st.dictionaries(
        _WORDS, st.builds(Sealed, _WORDS, _BYTES, st.none() | _BYTES, st.none() | _WORDS, _BYTES), max_size=5
    ),
    blocks=st.lists(
        st.builds(Block, _WORDS, _BYTES, _WORDS, _BYTES, st.none() | _WORDS, _BYTES),
        max_size=4,
        unique_by=lambda block: block.first,
    ),
    tiles=st.lists(st.builds(Tile, _WORDS, _WORDS, _BYTES), max_size=3, unique_by=lambda tile: tile[:2]),
)
def test_every_part_is_in_its_table(
    first: int, leaves: list[bytes], payloads: dict[int, Sealed], blocks: list[Block], tiles: list[Tile]
) -> None:
    db = opened()
    batch.write(db, first, leaves, list(payloads.items()), blocks, tiles)
    assert table(db, "leaf") == [(first + i, leaf) for i, leaf in enumerate(leaves)]
    assert table(db, "payload") == sorted((seq, *sealed[:5]) for seq, sealed in payloads.items())
    assert table(db, "salts") == sorted(tuple(block) for block in blocks)
    assert table(db, "tile") == sorted(tuple(tile) for tile in tiles)
    db.close()


def test_the_largest_leaves_keep_their_length() -> None:
    db = opened()
    leaves = [bytes([i]) * MAX_LEAF for i in range(40)]
    batch.write(db, 7, leaves, [], [], [])
    assert table(db, "leaf") == [(7 + i, leaf) for i, leaf in enumerate(leaves)]
    db.close()


def test_it_is_whole_or_not_at_all() -> None:
    db = opened()
    tile = Tile(0, 0, b"hashes")
    batch.write(db, 0, [b"a"], [], [], [tile])
    with pytest.raises(sqlite3.IntegrityError):
        batch.write(db, 1, [b"b", b"c"], [], [Block(1, b"", 1, b"", None, b"")], [tile])
    assert (table(db, "leaf"), table(db, "salts")) == ([(0, b"a")], [])
    assert not db.in_transaction
    db.close()


def test_it_leaves_nothing_in_the_file() -> None:
    db = opened()
    names = [row[0] for row in db.execute("SELECT name FROM main.sqlite_schema WHERE type <> 'index'")]
    assert names == ["leaf", "tile", "payload", "salts", "meta"]
    db.close()
