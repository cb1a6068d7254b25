"""A table of small counters in a file that all workers map: what one takes, all see taken.

Callers keep one connection, and a connection belongs to one worker, so a rate cannot be divided by the
number of workers: the share of the others would be lost. Instead the workers share the counters. The
file is stripes of slots; a stripe is locked by a byte-range lock, which the kernel drops when a process
dies. ``bench/identity.py`` prints what that costs a call.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import Overloaded

_HEADER = struct.Struct("<8s16sII32x")
_MAGIC = b"GWSLOTS1"
_SLOT = struct.Struct("<16sdqq")
_VALUES = struct.Struct("<dq")
_IDLE = struct.Struct("<q")
_VALUES_AT, _IDLE_AT = 16, 32
_TRY, _RELEASE = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
_SPINS = 50
_NAPS = 200  # of half a millisecond


class SlotsError(Exception):
    """The file cannot be used. The text names it and says what to do."""


@functools.lru_cache(maxsize=8192)
def slot_name(*parts: str) -> bytes:
    """16 bytes that name a slot; different parts, different names."""
    text = b"".join(struct.pack("<I", len(p)) + p for p in (part.encode("utf-8", "replace") for part in parts))
    return hashlib.blake2b(text, digest_size=16).digest()


class SharedSlots:
    """``stripes`` times ``width`` slots, each a float, an int and the time from which it may be forgotten.

    ``epoch`` names the life of the counters: a file of another epoch starts empty. For one thread of each
    process; ``claim``, ``get`` and ``put`` only within ``locked``.
    """

    def __init__(self, path: Path, *, epoch: str = "", stripes: int = 1024, width: int = 32) -> None:
        self._path = path
        self._epoch = slot_name(epoch)
        self._stripes = stripes
        self._width = width

    def open(self) -> None:
        """Map the file, made if it is not there. Raises: SlotsError."""
        size = _HEADER.size + self._stripes * self._width * _SLOT.size
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Whoever comes first prepares the file; the others wait for it.
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
            try:
                self._prepare(size)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)
            self._map = mmap.mmap(self._file, size)
        except OSError as error:
            raise SlotsError(f"{self._path}: cannot be used for shared counters: {error.strerror}") from error

    def _prepare(self, size: int) -> None:
        wanted = _HEADER.pack(_MAGIC, self._epoch, self._stripes, self._width)
        found = os.pread(self._file, _HEADER.size, 0)
        if found and found[:8] != _MAGIC:
            raise SlotsError(f"{self._path}: not a file of shared counters; move it away")
        if found != wanted:
            os.ftruncate(self._file, 0)
            os.ftruncate(self._file, size)
            os.pwrite(self._file, wanted, 0)
        elif os.fstat(self._file).st_size != size:
            raise SlotsError(f"{self._path}: cut short; delete it while no gateway runs, its counts start anew")

    def sync(self) -> None:
        """Have the counters on stable storage on return. Blocking; may be called from another thread."""
        os.fsync(self._file)  # takes the mapped pages along, and unlike msync lets other threads run meanwhile

    def close(self) -> None:
        """Write the counters back and let go of the file."""
        self.sync()
        self._map.close()
        os.close(self._file)

    def locked(self, names: Sequence[bytes]) -> _Locked:
        """A context in which nobody else touches the slots of ``names``. Entering raises: Overloaded."""
        return _Locked(self, names)

    def lock(self, names: Sequence[bytes]) -> Sequence[int]:
        """Lock the stripes of ``names`` and return them for ``unlock``; all or none. Raises: Overloaded."""
        if len(names) == 1:
            stripe = self._stripe(names[0])
            self._lock(stripe)
            return (stripe,)
        # In order, so that two workers who want the same stripes never wait for each other.
        stripes = sorted({self._stripe(name) for name in names})
        held = 0
        try:
            for stripe in stripes:
                self._lock(stripe)
                held += 1
        except BaseException:
            self.unlock(stripes[:held])
            raise
        return stripes

    def unlock(self, stripes: Sequence[int]) -> None:
        """Let go of what ``lock`` gave."""
        for stripe in stripes:
            fcntl.lockf(self._file, _RELEASE, 1, _HEADER.size + stripe)

    def _lock(self, stripe: int) -> None:
        try:
            fcntl.lockf(self._file, _TRY, 1, _HEADER.size + stripe)
        except (BlockingIOError, PermissionError):
            self._wait(stripe)

    def _wait(self, stripe: int) -> None:
        # Holders need microseconds, or a time slice when they lose their core in between. Waiting for the lock
        # in the kernel would hang together with a worker that was stopped, so we ask, and give up.
        for attempt in range(_SPINS + _NAPS):
            time.sleep(0 if attempt < _SPINS else 0.0005)
            try:
                fcntl.lockf(self._file, _TRY, 1, _HEADER.size + stripe)
            except (BlockingIOError, PermissionError):
                continue
            return
        raise Overloaded("the shared counters of rates and quotas are busy; retry later", 50)

    def claim(self, name: bytes, now: int) -> int:
        """The place of ``name``'s slot: the one it has, or a new one holding zeros.

        A new one takes an unused place or that of a slot which may be forgotten at ``now``. What was claimed at
        ``now`` is not forgotten at ``now``: two names claimed together never get one place.
        Raises: Overloaded when the stripe is full of live slots, rather than forget one.
        """
        size, stripe = _SLOT.size, self._stripe(name)
        start = _HEADER.size + stripe * self._width * size
        end = start + self._width * size
        place = self._map.find(name, start, end)
        while place >= 0 and (place - start) % size:  # a chance match across two slots
            place = self._map.find(name, place + 1, end)
        if place >= 0:
            if _IDLE.unpack_from(self._map, place + _IDLE_AT)[0] <= now:
                _IDLE.pack_into(self._map, place + _IDLE_AT, now + 1)
            return place
        for place in range(start, end, size):
            found, _, _, idle_from = _SLOT.unpack_from(self._map, place)
            if not any(found) or idle_from <= now:
                _SLOT.pack_into(self._map, place, name, 0.0, 0, now + 1)
                return place
        raise Overloaded("too many rate and quota keys are in use; retry later", 1000)

    def get(self, place: int) -> tuple[float, int, int]:
        """Value, mark and idle time of the slot at ``place``."""
        _, value, mark, idle_from = _SLOT.unpack_from(self._map, place)
        return value, mark, idle_from

    def put(self, place: int, value: float, mark: int, idle_from: int) -> None:
        """Set the slot at ``place``; from ``idle_from`` on it may be forgotten."""
        _VALUES.pack_into(self._map, place + _VALUES_AT, value, mark)
        _IDLE.pack_into(self._map, place + _IDLE_AT, idle_from)

    def _stripe(self, name: bytes) -> int:
        return int.from_bytes(name[:4], "little") % self._stripes


class _Locked:
    """A class, for a generator's context manager costs five times as much."""

    __slots__ = ("_names", "_slots", "_stripes")

    def __init__(self, slots: SharedSlots, names: Sequence[bytes]) -> None:
        self._slots = slots
        self._names = names

    def __enter__(self) -> None:
        self._stripes = self._slots.lock(self._names)

    def __exit__(self, *_: object) -> None:
        self._slots.unlock(self._stripes)
