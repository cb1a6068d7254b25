"""SQLite's errors: those that speak of the bytes of a file, and those of its disk, its rights or its neighbours."""

from __future__ import annotations

import sqlite3

_ELSEWHERE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def damaged(error: sqlite3.Error) -> bool:
    """Whether ``error`` says that the bytes of a file are not what was written."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python's own: a column of text that is none
        return "Could not decode" in str(error)
    return code & 0xFF not in _ELSEWHERE
