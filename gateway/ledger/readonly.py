"""SQLite files as an auditor reads them: nothing on disk changes, whatever their writer was doing when it died."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

_MENDABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_SIDE_FILES = ("-journal", "-wal", "")
"""The file itself comes last: what mends it must be at least as old as what is mended."""


class MendedCopy(sqlite3.Connection):
    """A connection to a copy. ``taken`` is how the original and what lies beside it looked then."""

    taken: tuple[tuple[int, int], ...] = ()


def connect(path: Path) -> sqlite3.Connection:
    """A connection that can only read; for any one thread at a time.

    A crash may leave a file that SQLite must write to before it can be read: a half-done change to undo (in the middle
    of a switch to WAL, of an erasure in a sealed segment, of an anchor), or a log on a disk that is mounted read-only.
    That is done in a copy, which exists as long as the connection. Whoever keeps the connection asks ``is_stale``
    before each use: a writer that lives again mends the file itself and goes on.

    Raises: sqlite3.Error; OSError when there is no room for the copy.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
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


def is_stale(db: sqlite3.Connection, path: Path) -> bool:
    """True when ``db`` is a copy of ``path`` as it is no more."""
    return isinstance(db, MendedCopy) and db.taken != _look(path)


def _look(path: Path) -> tuple[tuple[int, int], ...]:
    files = [path.with_name(path.name + suffix) for suffix in _SIDE_FILES]
    return tuple((stat.st_size, stat.st_mtime_ns) for file in files if file.exists() for stat in [file.stat()])


def _mended_copy(path: Path) -> MendedCopy:
    taken = _look(path)
    with tempfile.TemporaryDirectory(prefix="gateway-ledger-") as scratch:
        for suffix in _SIDE_FILES:
            if (beside := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(beside, Path(scratch, beside.name))
        db = sqlite3.connect(
            Path(scratch, path.name), isolation_level=None, check_same_thread=False, factory=MendedCopy
        )
        db.taken = taken
        try:
            _touch(db)
            db.execute("PRAGMA query_only=ON")
        except BaseException:
            db.close()
            raise
        return db  # open files outlive their names


def _touch(db: sqlite3.Connection) -> None:
    db.execute("SELECT 1 FROM sqlite_master").fetchall()
