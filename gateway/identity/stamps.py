"""Whether files are still the ones that were read: cheap, and different when anything was written or replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

Stamps: TypeAlias = tuple[tuple[str, int, int, int] | None, ...]


def stamps(paths: Iterable[Path]) -> Stamps:
    """Name, time, size and inode of each; None for one that is not there."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[str, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return str(path), status.st_mtime_ns, status.st_size, status.st_ino
