"""A follower's own database: its positions and its output, changed in one transaction.

Reading the ledger at least once thereby becomes an effect of exactly once, and deleting the file rebuilds
the projection from the ledger. ``synchronous=NORMAL`` suffices: what a power cut takes is read again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

SCHEMA = "CREATE TABLE IF NOT EXISTS position (shard TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT"


class Database:
    """One SQLite file, used by one thread."""

    def __init__(self, path: Path, schema: str = "") -> None:
        self._path = path
        self._schema = schema
        self._connection: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection, for reading."""
        if self._connection is None:
            raise RuntimeError(f"{self._path}: not open")
        return self._connection

    def open(self) -> dict[str, int]:
        """Open or create the file and return the next sequence to read of each shard.

        A file that SQLite cannot read is set aside as ``<name>.broken`` and rebuilt: it is only a projection.

        Raises: OSError, sqlite3.OperationalError when the folder is not writable.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.erase()
            return self._open()

    def _open(self) -> dict[str, int]:
        self._connection = connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(f"{SCHEMA};{self._schema}")
        return dict(connection.execute("SELECT shard, next FROM position"))

    def commit(self, positions: Mapping[str, int], write: Callable[[sqlite3.Connection], None]) -> None:
        """Run ``write`` and store ``positions`` in one transaction: all of it, or nothing.

        Raises: sqlite3.Error, and whatever ``write`` raises.
        """
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            write(connection)
            connection.executemany("INSERT OR REPLACE INTO position VALUES (?, ?)", positions.items())
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def erase(self) -> None:
        """Close the file and set it aside as ``<name>.broken``, so that the next ``open`` starts over."""
        self.close()
        if self._path.exists():
            self._path.replace(self._path.with_suffix(".broken"))
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
