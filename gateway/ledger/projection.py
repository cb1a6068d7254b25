"""A follower's database: its tables and its positions change in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gateway.ledger.errors import LedgerNewer

POSITIONS = "CREATE TABLE IF NOT EXISTS position (shard TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID"


def set_aside(path: Path, ending: str) -> Path:
    """Rename a database to ``<name>.<ending>``, or with the next free number behind it; its log goes with it, which
    another process that has it open may need. Returns the new name. Raises: OSError."""
    names = (path.with_suffix(f".{ending}{number or ''}") for number in range(1_000_000))
    aside = next(name for name in names if not name.exists())
    path.replace(aside)
    with contextlib.suppress(FileNotFoundError):
        path.with_name(f"{path.name}-wal").replace(aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    return aside


class Projection:
    """SQLite file of one follower. May be read by others with ``?mode=ro`` at any time.

    ``synchronous=NORMAL`` is right here: a power loss takes back output and position together, and the
    follower reads those leaves again.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    @classmethod
    def open(cls, path: Path, tables: str, *, version: int) -> Projection:
        """Open or make ``path`` with ``tables`` (SQL). One of an earlier ``version`` is set aside as ``<name>.v<N>``,
        and an empty one begins: it is told again from the ledger.

        Raises: LedgerNewer when the file is of a later version; sqlite3.Error.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found > version:
            db.close()
            raise LedgerNewer(f"{path} has version {found}, this software knows {version}: run the one that wrote it")
        if 0 < found < version:
            db.close()
            set_aside(path, f"v{found}")
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        db.execute("PRAGMA synchronous=NORMAL")
        if found != version:
            db.executescript(f"BEGIN; {POSITIONS}; {tables}; PRAGMA user_version={int(version)}; COMMIT;")
        return cls(db)

    def position(self, shard: str) -> int:
        """The next sequence number wanted of ``shard``."""
        row = self.db.execute("SELECT next FROM position WHERE shard=?", (shard,)).fetchone()
        return int(row[0]) if row else 0

    @contextlib.contextmanager
    def advance(self, shard: str, following: int) -> Iterator[sqlite3.Connection]:
        """A transaction that ends with the position of ``shard`` at ``following``, or changes nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute(
                "INSERT INTO position VALUES (?,?) ON CONFLICT DO UPDATE SET next=excluded.next", (shard, following)
            )
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        self.db.close()
