"""One batch as one statement: what a commit writes into four tables is handed to SQLite at once.

Python gives the interpreter lock away around every step of a statement, and against a busy event loop it may wait a
switch interval each time to have it again. BEGIN, an INSERT for each table and COMMIT are eight such moments and more;
one statement that is its own transaction is two. So a connection has a temporary view, which is in no file, whose
trigger writes the rows where they belong: the leaves from one value that holds them all, everything else from rows of
its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import zip_longest
from typing import TypeAlias

from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.tree import Tile

_VIEW = """
CREATE TEMP VIEW batch AS SELECT 0 AS first, 0 AS leaves, 0 AS places, '' AS kind,
                                 0 AS a, 0 AS b, 0 AS c, 0 AS d, 0 AS e, 0 AS f;
CREATE TEMP TRIGGER write_batch INSTEAD OF INSERT ON batch BEGIN
  INSERT INTO leaf SELECT new.first + key, substr(new.leaves, value >> 16, value & 65535) FROM json_each(new.places);
  INSERT INTO salts   SELECT new.a, new.b, new.c, new.d, new.e, new.f WHERE new.kind = 'salts';
  INSERT INTO payload SELECT new.a, new.b, new.c, new.d, new.e, new.f WHERE new.kind = 'payload';
  INSERT INTO tile    SELECT new.a, new.b, new.c WHERE new.kind = 'tile';
END;
"""
_INSERT = "INSERT INTO batch VALUES (?,?,?,?,?,?,?,?,?,?)"
_ROW = ",(?,?,?,?,?,?,?,?,?,?)"
_NO_LEAVES = (0, 0, "[]")
_NOTHING_ELSE = ("", 0, 0, 0, 0, 0, 0)

PIECE = 64
"""Leaves that are joined to one value: what is larger than caches and than what malloc keeps costs more than a row."""

Cell: TypeAlias = int | bytearray | str | None
Cells: TypeAlias = tuple[Cell, ...]


def prepare(db: sqlite3.Connection) -> None:
    """Let ``write`` be used on this connection."""
    db.executescript(_VIEW)


def write(
    db: sqlite3.Connection,
    first: int,
    leaves: Sequence[bytes],
    payloads: Sequence[tuple[int, Sealed]],
    blocks: Sequence[Block],
    tiles: Sequence[Tile],
) -> None:
    """Write one batch as one transaction; ``leaves`` are numbered from ``first``, not empty and below 64 KiB.

    Raises: sqlite3.Error; nothing of the batch is visible then, unless the disk says otherwise later.
    """
    # Bytes go in as bytearray: for other types than int, float, str and bytearray Python's module looks for adapters,
    # which costs two failed attribute look-ups and a formatted exception for every value.
    pieces: list[Cells] = []
    for at in range(0, len(leaves), PIECE):
        some = leaves[at : at + PIECE]
        pieces.append((first + at, bytearray().join(some), _places(some)))
    others: list[Cells] = [
        ("salts", number, bytearray(distances), kek, bytearray(dek), expires_us, bytearray(body))
        for number, distances, kek, dek, expires_us, body in blocks
    ]
    for seq, sealed in payloads:
        kek, dek, subject, expires_us, body, _ = sealed
        marked = None if subject is None else bytearray(subject)
        others.append(("payload", seq, kek, bytearray(dek), marked, expires_us, bytearray(body)))
    for level, n, hashes in tiles:
        others.append(("tile", level, n, bytearray(hashes), 0, 0, 0))
    cells: list[Cell] = []
    for piece, other in zip_longest(pieces, others):
        cells += piece or _NO_LEAVES
        cells += other or _NOTHING_ELSE
    db.execute(_INSERT + _ROW * (max(len(pieces), len(others)) - 1), cells)


def _places(leaves: Sequence[bytes]) -> str:
    """Where in the joined bytes each of ``leaves`` is, as JSON: its start, from 1, and its length in 16 bits."""
    places, start = [], 1
    for leaf in leaves:
        length = len(leaf)
        places.append(start << 16 | length)
        start += length
    return str(places)
