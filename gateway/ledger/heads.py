"""Signed heads of one shard: the newest as a file that anybody can take along, the anchored ones in a table."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from gateway.ledger import files, note, readonly
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerCorrupt, LedgerError
from gateway.ledger.sqlite_faults import damaged
from gateway.ledger.tail import Tail

_TABLES = """
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER, root BLOB) STRICT;
CREATE TABLE tail  (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER, hashes BLOB) STRICT;
CREATE TABLE head  (size INTEGER PRIMARY KEY, t_us INTEGER NOT NULL, note TEXT NOT NULL) STRICT;
"""
_ANCHORED = "SELECT CAST(coalesce(note, '') AS BLOB), CAST(coalesce(t_us, 0) AS INTEGER) FROM head ORDER BY size"
_NOTE = "SELECT CAST(coalesce(note, '') AS BLOB) FROM head WHERE size=?"
_PROMISED = "SELECT CAST(size AS INTEGER), CAST(root AS BLOB) FROM state"
_HELP = "check its owner and rights, the disk, and that no other program holds it"
NEWEST = "checkpoint"
TABLE = "checkpoints.db"


class Stored(NamedTuple):
    """A signed head as found on disk; nothing is believed yet."""

    head: Checkpoint
    signed: note.Note
    t_us: int


def newest(directory: Path) -> Stored | None:
    """The shard's newest head, or None. Raises: LedgerCorrupt when it is no signed checkpoint, else LedgerError."""
    path = directory / NEWEST
    try:
        signed = note.parse(path.read_bytes())
        return Stored(Checkpoint.parse(signed.text), signed, path.stat().st_mtime_ns // 1000)
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise LedgerCorrupt(f"{path} is a directory: restore the file from a copy") from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be read ({error.strerror}): {_HELP}") from error
    except note.BadNote as error:
        raise LedgerCorrupt(f"{path} is no signed checkpoint ({error}): restore it from a copy") from error


def anchored(directory: Path) -> list[Stored]:
    """The heads that were anchored, smallest first. Raises: LedgerError, OSError."""
    path = directory / TABLE
    if not path.exists():
        return []
    with _sound(path), closing(readonly.connect(path)) as db:
        rows = db.execute(_ANCHORED).fetchall()
        return [Stored(Checkpoint.parse((signed := note.parse(raw)).text), signed, t_us) for raw, t_us in rows]


def tail(directory: Path) -> Tail | None:
    """The hashes behind the last full tile as they were when a head was last signed; None when they cannot be had."""
    path = directory / TABLE
    if not path.exists():
        return None
    try:
        with closing(readonly.connect(path)) as db:
            row = db.execute("SELECT CAST(size AS INTEGER), CAST(hashes AS BLOB) FROM tail").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError):  # it only helps to be exact: nothing rests on it
        return None
    return Tail(int(row[0]), bytes(row[1])) if row and None not in row else None


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Translate what SQLite says. Raises: LedgerCorrupt for a damaged table; LedgerError where it cannot be had."""
    try:
        yield
    except (sqlite3.Error, note.BadNote, OverflowError, TypeError, ValueError) as error:
        if isinstance(error, sqlite3.Error) and not damaged(error):
            raise LedgerError(f"{path} cannot be used ({error}): {_HELP}") from error
        raise LedgerCorrupt(f"{path} cannot be read ({error}): restore it from a copy") from error


def _create(path: Path) -> None:
    """Make an empty table of heads, whole or not at all; one that is there stays."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft, isolation_level=None)) as db:
        db.executescript(f"BEGIN; {_TABLES} COMMIT;")
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    files.fsync_directory(path.parent)


class Heads:
    """What was signed for one shard. The notary writes, and whoever brings cosignatures; any may read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._db: sqlite3.Connection | None = None

    def open(self) -> list[tuple[int, bytes]]:
        """Open for writing; returns size and root of the trees that must still be there: the one that was last signed
        for (or about to be), the largest anchored one, and the newest head's. Any of them may be lost, or restored from
        an older copy.

        Raises: LedgerError, OSError.
        """
        path = self._directory / TABLE
        with _sound(path):
            if not path.exists():
                _create(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=DELETE").fetchall()  # several processes may write: no WAL here
            self._db.execute("PRAGMA synchronous=FULL")
            promised = [(int(size), bytes(root)) for size, root in self._db.execute(_PROMISED)]
            if any(len(root) != 32 for _, root in promised):
                raise note.BadNote("a root has not 32 bytes")
            for raw, _ in self._db.execute(f"{_ANCHORED} DESC LIMIT 1"):
                head = Checkpoint.parse(note.parse(raw).text)
                promised.append((head.size, head.root))
        stored = newest(self._directory)
        return promised if stored is None else [*promised, (stored.head.size, stored.head.root)]

    def promise(self, root: bytes, tail: Tail) -> None:
        """Store, before anything is signed, what will be signed: no other root may ever be signed for this size.

        Raises: LedgerError; nothing may be signed then.
        """
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO state VALUES (1,?,?)", (tail.size, root))
            db.execute("INSERT OR REPLACE INTO tail VALUES (1,?,?)", tail)

    def publish(self, signed: note.Note) -> None:
        """Put the newest head where everyone finds it."""
        files.replace(self._directory / NEWEST, str(signed).encode())

    def anchor(self, size: int, signed: note.Note, t_us: int) -> None:
        """Keep a head for good. For a size that is there already, new signature lines join the old ones.

        Raises: LedgerError.
        """
        with self._transaction() as db:
            row = db.execute(_NOTE, (size,)).fetchone()
            before = note.parse(row[0]) if row else None
            if before is not None and before.text == signed.text:
                fresh = [line for line in signed.signatures if line not in before.signatures]
                signed = before.signed_by(*fresh)
            db.execute("INSERT OR REPLACE INTO head VALUES (?,?,?)", (size, t_us, str(signed)))

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        if db is None:
            raise LedgerCorrupt(f"{self._directory}: the heads are not open")
        with _sound(self._directory / TABLE):
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
