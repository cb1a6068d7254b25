"""The data keys of a shard's data subjects, each wrapped: without it nothing that is kept of its subject can be read.

One small SQLite file a shard, apart from the records and among the keys, so that copies of the records cannot be
read after an erasure either. Its one writer is the shard's; others open it read-only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.ledger import files
from gateway.ledger.errors import KeyMissing

_TABLE = """CREATE TABLE IF NOT EXISTS subject
(digest BLOB PRIMARY KEY, tenant TEXT NOT NULL, kek INTEGER NOT NULL, dek BLOB NOT NULL) STRICT, WITHOUT ROWID"""


class SubjectKey(NamedTuple):
    """``dek`` is wrapped by the key of ``tenant`` of generation ``kek``; ``digest`` is the subject's keyed digest."""

    digest: bytes
    tenant: str
    kek: int
    dek: bytes


class SubjectKeys:
    """The keys in ``path``. For one thread at a time; every method blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing: sqlite3.Connection | None = None

    def get(self, digest: bytes) -> SubjectKey | None:
        """The key of a subject; None when it has none, or none any more. Raises: KeyMissing."""
        rows = self._read("SELECT digest, tenant, kek, dek FROM subject WHERE digest = ?", (digest,))
        return rows[0] if rows else None

    def under_other(self, generation: int) -> list[SubjectKey]:
        """Keys that another generation than this one wraps. Raises: KeyMissing."""
        return self._read("SELECT digest, tenant, kek, dek FROM subject WHERE kek <> ?", (generation,))

    def put(self, keys: Sequence[SubjectKey]) -> None:
        """Add or replace keys, durably when this returns. Raises: sqlite3.Error, OSError."""
        db = self._open()
        rows = [item for key in keys for item in key]
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT OR REPLACE INTO subject VALUES (?,?,?,?)" + ",(?,?,?,?)" * (len(keys) - 1), rows)

    def destroy(self, digest: bytes) -> bool:
        """Forget a key for good, also in the file's log; True if there was one.

        Raises: sqlite3.Error; the key may be in the log then, so destroy it again.
        """
        if not self._path.exists():
            return False
        db = self._open()
        found = bool(db.execute("DELETE FROM subject WHERE digest = ?", (digest,)).rowcount)
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("a reader holds the log, an erased key is still in it")
        return found

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _read(self, sql: str, arguments: tuple[bytes | int]) -> list[SubjectKey]:
        if self._writing is not None:
            return [SubjectKey(*row) for row in self._writing.execute(sql, arguments)]
        if not self._path.exists():
            return []
        try:
            db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
            try:
                return [SubjectKey(*row) for row in db.execute(sql, arguments)]
            finally:
                db.close()
        except sqlite3.DatabaseError as error:
            raise KeyMissing(f"{self._path} cannot be read ({error}): restore it from its copy") from error

    def _open(self) -> sqlite3.Connection:
        if self._writing is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF"):
                db.execute(f"PRAGMA {pragma}").fetchall()
            db.execute(_TABLE)
            files.fsync_directory(self._path.parent)
            self._writing = db
        return self._writing
