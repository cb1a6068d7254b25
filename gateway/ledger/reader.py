"""Reading a shard while its writer lives, and after it died: read-only, in short transactions.

A reader sees committed leaves only: SQLite shows a commit to readers after the WAL was synced.
"""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path
from typing import Any

from gateway.ledger import readonly, segment
from gateway.ledger.errors import LedgerCorrupt, LedgerError, NoSuchRecord
from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.sqlite_faults import damaged

_HELP = "check its owner and rights, that no other program holds it, and that TMPDIR has room for it"


def shards(root: Path) -> list[str]:
    """Names of the shards under ``root``, sorted; [] when there is none."""
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and segment.files(entry))


class ShardReader:
    """Leaves of one shard by sequence number. Not for two threads at once; every method blocks for one query.

    Queries cast to BLOB: a damaged file may answer with another type than the one that was written.
    """

    def __init__(self, root: Path, shard: str) -> None:
        self.shard = shard
        self._directory = root / shard
        self._open: tuple[Path, sqlite3.Connection] | None = None

    def read(self, first_seq: int, limit: int = 4096) -> list[tuple[int, bytes]]:
        """Up to ``limit`` leaves from ``first_seq`` on, in order; [] at the end. A gap on disk stays a gap.

        Raises: LedgerCorrupt when a segment cannot be read.
        """
        rows: list[tuple[int, bytes]] = []
        paths = segment.files(self._directory)
        for place, path in enumerate(paths):
            following = paths[place + 1] if place + 1 < len(paths) else None
            if following is not None and segment.first_seq(following) <= first_seq:
                continue
            rows += self._query(
                path,
                "SELECT seq, CAST(coalesce(leaf, '') AS BLOB) FROM leaf WHERE seq >= ? ORDER BY seq LIMIT ?",
                (first_seq, limit - len(rows)),
            )
            if len(rows) >= limit:
                break
        return rows

    def leaf(self, seq: int) -> bytes:
        """One leaf. Raises: NoSuchRecord, LedgerCorrupt."""
        rows = self.read(seq, 1)
        if not rows or rows[0][0] != seq:
            raise NoSuchRecord(f"{self.shard}/{seq}: shard {self.shard!r} has {self.size()} records and not this one")
        return rows[0][1]

    def size(self) -> int:
        """One past the last committed sequence number; 0 for an empty shard."""
        paths = segment.files(self._directory)
        if not paths:
            return 0
        rows = self._query(paths[-1], "SELECT max(seq) FROM leaf", ())
        return segment.first_seq(paths[-1]) if rows[0][0] is None else int(rows[0][0]) + 1

    def tile(self, level: int, n: int) -> bytes | None:
        """The stored hashes of a full tile, or None. It lies in the segment of the leaf that completed it."""
        last = ((n + 1) << (8 * (level + 1))) - 1
        for path in reversed(segment.files(self._directory)):
            if segment.first_seq(path) <= last:
                rows = self._query(
                    path, "SELECT CAST(coalesce(hashes, '') AS BLOB) FROM tile WHERE level=? AND n=?", (level, n)
                )
                return bytes(rows[0][0]) if rows else None
        return None

    def start_root(self, path: Path) -> bytes:
        """The root that a segment says it continues. Raises: LedgerCorrupt."""
        rows = self._query(path, "SELECT CAST(coalesce(value, '') AS BLOB) FROM meta WHERE key='root'", ())
        return bytes(rows[0][0]) if rows else b""

    def pruned(self) -> list[range]:
        """Ranges of leaves that were deleted after their time. Raises: LedgerCorrupt."""
        paths = segment.files(self._directory)
        found = []
        for path, following in itertools.pairwise(paths):
            if self._query(path, "SELECT 1 FROM meta WHERE key='pruned'", ()):
                found.append(range(segment.first_seq(path), segment.first_seq(following)))
        return found

    def payload(self, seq: int) -> Sealed | None:
        """What is kept of a record, encrypted, or None (erased, expired, or never kept)."""
        for path in reversed(segment.files(self._directory)):
            if segment.first_seq(path) <= seq:
                rows = self._query(path, "SELECT kek, dek, subject, expires_us, body FROM payload WHERE seq=?", (seq,))
                return Sealed(*rows[0]) if rows else self._in_block(path, seq)
        return None

    def _in_block(self, path: Path, seq: int) -> Sealed | None:
        sql = "SELECT first, distances, kek, dek, expires_us, body FROM salts WHERE first BETWEEN ? AND ?"
        for row in self._query(path, sql, (seq - segment.MAX_BLOCK, seq)):
            block = Block(*row)
            if seq in block.numbers():
                place = (block.first, block.distances)
                return Sealed(block.kek, block.dek, None, block.expires_us, block.body, place)
        return None

    def close(self) -> None:
        """Close the open segment, if any; reading again opens it again."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _query(self, path: Path, sql: str, arguments: tuple[int, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection(path).execute(sql, arguments).fetchall()
        except OverflowError:  # a number that SQLite does not hold is no record's
            return []
        except UnicodeDecodeError as error:  # SQLite quotes damaged names in what it says
            self.close()
            raise LedgerCorrupt(f"{path} cannot be read: restore it from its copy") from error
        except sqlite3.DatabaseError as error:
            self.close()
            if not damaged(error):
                raise LedgerError(f"{path} cannot be opened ({error}): {_HELP}") from error
            raise LedgerCorrupt(f"{path} cannot be read ({error}): restore it from its copy") from error
        except OSError as error:  # reading what a crash left needs a copy
            self.close()
            raise LedgerError(f"{path} cannot be copied to the temporary directory ({error}): {_HELP}") from error

    def _connection(self, path: Path) -> sqlite3.Connection:
        if self._open is None or self._open[0] != path or readonly.is_stale(self._open[1], path):
            self.close()
            db = readonly.connect(path)
            try:
                segment.check_meta(db, path, self.shard)
            except BaseException:
                db.close()
                raise
            self._open = (path, db)
        return self._open[1]
