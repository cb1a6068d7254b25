"""Which SQLite releases may corrupt a log that two connections write or checkpoint at once (sqlite.org/wal.html)."""

from __future__ import annotations

_BACKPORTS = {(3, 50): 7, (3, 44): 6}
_FIXED = (3, 51, 3)


def reset_bug(version: tuple[int, int, int]) -> str:
    """One sentence about a release with that fault; "" for one without."""
    backport = _BACKPORTS.get(version[:2])
    if version < (3, 7, 0) or version >= _FIXED or (backport is not None and version[2] >= backport):
        return ""
    name = ".".join(str(part) for part in version)
    return (
        f"SQLite {name} may corrupt a file that two connections write at once (fixed in 3.51.3, 3.50.7 and 3.44.6): "
        "the gateway writes each of its files by one; let no other program write them"
    )
