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
from itertools import accumulate

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
_FIRST = "INSERT INTO batch VALUES (?,?,?,?,?,?,?,?,?,?)"
_MORE = ",(0,x'','[]',?,?,?,?,?,?,?)"
_NOTHING = ("", 0, 0, 0, 0, 0, 0)

Cell = int | bytearray | str | None


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
    lengths = [len(leaf) for leaf in leaves]
    starts = accumulate(lengths, initial=1)
    places = [start << 16 | length for start, length in zip(starts, lengths, strict=False)]
    cells: list[Cell] = [first, bytearray().join(leaves), str(places)]
    for number, distances, kek, dek, expires_us, body in blocks:
        cells += ("salts", number, bytearray(distances), kek, bytearray(dek), expires_us, bytearray(body))
    for seq, sealed in payloads:
        subject = None if sealed.subject is None else bytearray(sealed.subject)
        cells += ("payload", seq, sealed.kek, bytearray(sealed.dek), subject, sealed.expires_us, bytearray(sealed.body))
    for level, n, hashes in tiles:
        cells += ("tile", level, n, bytearray(hashes), 0, 0, 0)
    rows = len(blocks) + len(payloads) + len(tiles)
    if not rows:
        cells += _NOTHING
    db.execute(_FIRST + _MORE * (rows - 1), cells)
