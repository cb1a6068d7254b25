"""One segment of a shard: a SQLite file in WAL mode with exactly one writing connection, which alone checkpoints.

Why one: SQLite before 3.51.3 (3.50.7, 3.44.6) may corrupt a WAL when two connections write or checkpoint
at once. A segment is created under another name and renamed, so a ``.db`` file always has its schema.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.ledger import batch
from gateway.ledger import files as durable
from gateway.ledger.errors import LedgerCorrupt, LedgerNewer, LedgerUnwritable
from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.sqlite_faults import damaged
from gateway.ledger.tree import Tile

SCHEMA = 1
DIGITS = 12
PAGE = 8_192
"""Bytes of a page of a new segment; older ones say themselves what theirs are.

A commit of one record changes two pages, which are checksummed, written and synced; six usual records fill one.
"""

MAX_BLOCK = 0xFFFF
"""A block of salts reaches at most this far behind its first record."""

_TABLES = """
CREATE TABLE leaf   (seq INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
CREATE TABLE tile   (level INTEGER, n INTEGER, hashes BLOB NOT NULL, PRIMARY KEY (level, n)) STRICT, WITHOUT ROWID;
CREATE TABLE payload(seq INTEGER PRIMARY KEY, kek INTEGER NOT NULL, dek BLOB NOT NULL, subject BLOB,
                     expires_us INTEGER, body BLOB NOT NULL) STRICT;
CREATE TABLE salts  (first INTEGER PRIMARY KEY, distances BLOB NOT NULL, kek INTEGER NOT NULL, dek BLOB NOT NULL,
                     expires_us INTEGER, body BLOB NOT NULL) STRICT;
CREATE TABLE meta   (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
"""
_INSERT_SALTS = "INSERT INTO salts VALUES (?,?,?,?,?,?)"
_FIXED = {"synchronous": 2, "secure_delete": 1, "wal_autocheckpoint": 0, "trusted_schema": 0, "mmap_size": 0}


def name(first_seq: int) -> str:
    """File name of the segment that begins at ``first_seq``."""
    return f"{first_seq:0{DIGITS}d}.db"


def files(directory: Path) -> list[Path]:
    """The segments of a shard directory, oldest first."""
    return sorted(p for p in directory.glob("*.db") if p.stem.isdecimal() and len(p.stem) >= DIGITS)


def first_seq(path: Path) -> int:
    """The sequence number that a segment begins with."""
    return int(path.stem)


def create(directory: Path, shard: str, first: int, root: bytes) -> Path:
    """Make an empty segment and its name durable.

    Raises: sqlite3.Error, OSError.
    """
    path, draft = directory / name(first), directory / (name(first) + ".new")
    draft.unlink(missing_ok=True)
    db = sqlite3.connect(draft, isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size={PAGE}")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={SCHEMA};")
        meta = {"shard": shard, "first_seq": first, "schema": SCHEMA, "root": root}
        db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        db.execute("COMMIT")
    finally:
        db.close()
    draft.rename(path)
    durable.fsync_directory(directory)
    return path


def check_meta(db: sqlite3.Connection, path: Path, shard: str) -> bytes:
    """Refuse a file that is newer, of another shard, or not a segment; returns the root at its start.

    Raises: LedgerNewer, LedgerCorrupt.
    """
    try:
        schema = int(db.execute("PRAGMA user_version").fetchone()[0])
        if schema > SCHEMA:
            raise LedgerNewer(
                f"{path} has schema {schema}, this software knows {SCHEMA}: run the version that wrote it"
            )
        if schema < 1:
            raise LedgerCorrupt(f"{path} has schema {schema}, which never was: restore it from its copy")
        meta = dict(db.execute("SELECT key, value FROM meta"))
    except sqlite3.DatabaseError as error:
        if not damaged(error):
            raise
        raise LedgerCorrupt(f"{path} is not a readable segment ({error}): restore it from its copy") from error
    if (meta.get("shard"), meta.get("first_seq")) != (shard, first_seq(path)):
        raise LedgerCorrupt(
            f"{path} says it begins shard {meta.get('shard')!r} at {meta.get('first_seq')!r}, "
            f"its place says {shard!r} at {first_seq(path)}: files were moved"
        )
    root = meta.get("root")
    if not isinstance(root, bytes) or len(root) != 32:
        raise LedgerCorrupt(f"{path} does not say which root it continues: restore it from its copy")
    return root


class Segment:
    """The live segment, opened for writing. Use it from one thread; every method blocks."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path
        self.first = first_seq(path)

    @classmethod
    def open(cls, path: Path, shard: str, *, check: bool = True, live: bool = True) -> Segment:
        """Open for writing and hold SQLite to the settings that durability rests on.

        ``check`` looks at every page first (about a second a gigabyte). A segment that is not ``live`` keeps its
        journal mode: sealed ones have no log.

        Raises: LedgerNewer, LedgerCorrupt, LedgerUnwritable; sqlite3.Error for other faults.
        """
        db = sqlite3.connect(path, isolation_level=None, cached_statements=600, check_same_thread=False)
        try:
            check_meta(db, path, shard)
            mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0] if live else "wal"
            if mode != "wal":
                raise LedgerUnwritable(f"{path}: journal mode is {mode!r}, WAL is impossible here: use a local disk")
            for pragma, value in _FIXED.items():
                db.execute(f"PRAGMA {pragma}={value}").fetchall()
                got = db.execute(f"PRAGMA {pragma}").fetchone()
                if got is not None and int(got[0]) != value:
                    raise LedgerUnwritable(f"{path}: SQLite answered {pragma}={got[0]} where {value} is needed")
            for pragma in ("temp_store=MEMORY", "cell_size_check=ON", "fullfsync=ON", "checkpoint_fullfsync=ON"):
                db.execute(f"PRAGMA {pragma}").fetchall()
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0] if check else "ok"
            if found != "ok":
                raise LedgerCorrupt(f"{path} is damaged ({' '.join(found.split())}): restore it from its copy")
            if live:
                batch.prepare(db)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            db.close()
            if isinstance(error, sqlite3.Error) and not damaged(error):
                raise unwritable(error, path) from error
            raise LedgerCorrupt(f"{path} is damaged ({error}): restore it from its copy") from error
        except BaseException:
            db.close()
            raise
        return cls(db, path)

    def end(self) -> int:
        """One past the last sequence number; ``first`` when empty."""
        top = self._db.execute("SELECT max(seq) FROM leaf").fetchone()[0]
        return self.first if top is None else int(top) + 1

    def commit(
        self,
        first: int,
        leaves: Sequence[bytes],
        payloads: Sequence[tuple[int, Sealed]],
        blocks: Sequence[Block],
        tiles: Sequence[Tile],
    ) -> None:
        """Write one batch, its leaves numbered from ``first``, and return when it is on stable storage.

        Raises: sqlite3.Error; nothing of the batch is visible then, unless the disk says otherwise later.
        """
        batch.write(self._db, first, leaves, payloads, blocks, tiles)

    def payloads(self, where: str, arguments: Sequence[bytes | int]) -> list[tuple[int, Sealed, bytes]]:
        """Number, row and leaf of the payloads under one of our own conditions."""
        sql = f"SELECT seq, kek, dek, subject, expires_us, body, leaf FROM payload JOIN leaf USING (seq) WHERE {where}"  # noqa: S608
        return [(int(row[0]), Sealed(*row[1:6]), row[6]) for row in self._db.execute(sql + " ORDER BY seq", arguments)]

    def blocks(self, where: str, arguments: Sequence[bytes | int]) -> list[Block]:
        """The blocks of salts under one of our own conditions, in order."""
        sql = f"SELECT first, distances, kek, dek, expires_us, body FROM salts WHERE {where} ORDER BY first"  # noqa: S608
        return [Block(*row) for row in self._db.execute(sql, arguments)]

    def kept(self, first: int, last: int) -> list[int]:
        """The numbers in that range that have a payload row of their own."""
        rows = self._db.execute("SELECT seq FROM payload WHERE seq BETWEEN ? AND ?", (first, last))
        return [int(row[0]) for row in rows]

    def leaf(self, seq: int) -> bytes:
        """One leaf; b"" where there is none."""
        row = self._db.execute("SELECT leaf FROM leaf WHERE seq = ?", (seq,)).fetchone()
        return bytes(row[0]) if row else b""

    def replace(
        self,
        *,
        gone: Sequence[int] = (),
        rows: Sequence[tuple[int, Sealed]] = (),
        blocks_gone: Sequence[int] = (),
        blocks: Sequence[Block] = (),
    ) -> None:
        """Delete payloads and blocks, write others in their place, and truncate the log, so that old bytes leave it.

        Raises: sqlite3.Error; where a reader holds the log it is found out before anything is deleted.
        """
        self._truncate()
        with self._transaction() as db:
            db.executemany("DELETE FROM payload WHERE seq = ?", ((seq,) for seq in gone))
            db.executemany(
                "UPDATE payload SET kek=?, dek=? WHERE seq=?", ((row.kek, row.dek, seq) for seq, row in rows)
            )
            db.executemany("DELETE FROM salts WHERE first = ?", ((first,) for first in blocks_gone))
            db.executemany(_INSERT_SALTS, blocks)
        self._truncate()

    @property
    def pruned(self) -> bool:
        """True when the leaves were deleted after their time; their hashes are still in the tiles."""
        return self.pruned_us is not None

    @property
    def pruned_us(self) -> int | None:
        """Up to which receipt time it was pruned; None when it was not."""
        row = self._db.execute("SELECT value FROM meta WHERE key='pruned'").fetchone()
        return int(row[0]) if row else None

    def newest_us(self) -> int:
        """The largest receipt time in the segment; 0 when empty."""
        sql = "SELECT max(CAST(json_extract(CAST(leaf AS TEXT), '$.t_us') AS INTEGER)) FROM leaf"
        return int(self._db.execute(sql).fetchone()[0] or 0)

    def leaves(self) -> Iterator[bytes]:
        """All leaves, in order."""
        return (row[0] for row in self._db.execute("SELECT leaf FROM leaf ORDER BY seq"))

    def prune(self, before_us: int) -> None:
        """Delete all leaves and payloads and give their space back; tiles stay. Raises: sqlite3.Error."""
        with self._transaction() as db:
            for sql in ("DELETE FROM leaf", "DELETE FROM payload", "DELETE FROM salts"):
                db.execute(sql)
            db.execute("INSERT INTO meta VALUES ('pruned', ?)", (before_us,))
        self._db.execute("VACUUM")
        self.checkpoint(truncate=True)

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Move the WAL into the file; True when all of it was moved. Readers in a transaction may prevent that."""
        mode = "TRUNCATE" if truncate else "PASSIVE"
        busy, frames, moved = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return not busy and frames == moved

    def _truncate(self) -> None:
        if not self.checkpoint(truncate=True):
            raise sqlite3.OperationalError("a reader holds the log, and what is erased would stay in it")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def end_log(self) -> bool:
        """Go on without a log, so that the file is whole by itself; False while others hold it.

        Raises: sqlite3.OperationalError when it is locked.
        """
        return (
            self.checkpoint(truncate=True) and self._db.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == "delete"
        )

    def close(self) -> None:
        """Close; the last connection to close moves the WAL into the file."""
        self._db.close()


def unwritable(error: sqlite3.Error | OSError, path: Path) -> LedgerUnwritable:
    """A fault of disk or rights as one sentence."""
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "full" in str(error):
        return LedgerUnwritable(f"{path}: the disk is full: free space, then start again")
    what = error.strerror if isinstance(error, OSError) else str(error)
    return LedgerUnwritable(f"{path} cannot be written ({what}): check owner, rights and mount options")
