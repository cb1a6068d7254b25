"""SQLite files as an auditor reads them: nothing on disk changes, whatever their writer was doing when it died."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

_MENDABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_SIDE_FILES = ("-journal", "-wal", "")
"""The file itself comes last: what mends it must be at least as old as what is mended."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that can only read; for any one thread at a time.

    A crash may leave a file that SQLite must write to before it can be read: a half-done change to undo (in the middle
    of a switch to WAL, of an erasure in a sealed segment, of an anchor), or a log on a disk that is mounted read-only.
    That is done in a copy, which exists as long as the connection. A living writer never leaves a file like that.

    Raises: sqlite3.Error; OSError when there is no room for the copy.
    """
    db = _open(f"{path.absolute().as_uri()}?mode=ro")
    try:
        _touch(db)
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF not in _MENDABLE or not path.exists():
            raise
    except BaseException:
        db.close()
        raise
    else:
        return db
    return _mended_copy(path)


def _mended_copy(path: Path) -> sqlite3.Connection:
    with tempfile.TemporaryDirectory(prefix="gateway-ledger-") as scratch:
        for suffix in _SIDE_FILES:
            if (beside := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(beside, Path(scratch, beside.name))
        db = _open(Path(scratch, path.name).as_uri())
        try:
            _touch(db)
            db.execute("PRAGMA query_only=ON")
        except BaseException:
            db.close()
            raise
        return db  # open files outlive their names


def _open(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _touch(db: sqlite3.Connection) -> None:
    db.execute("SELECT 1 FROM sqlite_master").fetchall()
