"""How much room a ledger's disk has, so that traffic can go elsewhere before SQLite has to say that it is full."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LOW_BYTES, LOW_SHARE = 1 << 30, 0.02
"""Low is less than either of them: a gibibyte, or two hundredths of the disk."""


class Room(NamedTuple):
    """Bytes that we may still write, and all that the disk has."""

    free: int
    total: int

    @property
    def low(self) -> bool:
        """Whether this gateway should get no more calls."""
        return self.free < min(LOW_BYTES, LOW_SHARE * self.total)


class Space:
    """The disk that holds ``directory``. For any thread; a look costs about 2 us."""

    def __init__(self, directory: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._directory = directory
        self._statvfs = statvfs

    def room(self) -> Room:
        """What there is now. Raises: OSError."""
        found = self._statvfs(self._directory)
        return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def warning(self) -> str:
        """Why no more calls should come here, as one sentence; "" while there is room, or where nobody can tell."""
        try:
            room = self.room()
        except OSError:
            return ""
        if not room.low:
            return ""
        return f"{self._directory} has {room.free >> 20} MiB left of {room.total >> 20}: free space before it is full"
