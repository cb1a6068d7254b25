"""One value that all workers of a gateway share: JSON in a file, replaced whole.

For what changes rarely and is read often (registered memory, log levels, models to load). Reading costs one
``stat`` while nothing changed. A change is made under a lock that the kernel drops when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from gateway.malformed import MALFORMED

T = TypeVar("T")


class _Envelope(msgspec.Struct, frozen=True):
    epoch: str
    value: msgspec.Raw


class SharedFile(Generic[T]):
    """The value in ``path``, ``initial`` while nobody of this ``epoch`` has changed it.

    ``epoch`` names one run of the gateway: what an earlier run left behind is not seen. ``kind`` is what msgspec
    decodes. For one thread of each process.
    """

    def __init__(self, path: Path, kind: type[T], initial: T, *, epoch: str) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._initial = initial
        self._epoch = epoch
        self._seen: tuple[int, int, int] | None = None
        self._value = initial

    def get(self) -> T:
        """The value now. A file that cannot be read or decoded is as good as none."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return self._initial
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp != self._seen:
            self._value = self._load()
            self._seen = stamp
        return self._value

    def change(self, edit: Callable[[T], T]) -> T:
        """Replace the value by what ``edit`` makes of it, while no other process can; return it.

        What ``edit`` raises passes through, and nothing is changed. Raises: OSError.
        """
        with open(f"{self._path}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            value = edit(self._load())
            envelope = _Envelope(self._epoch, msgspec.Raw(msgspec.json.encode(value)))
            fresh = Path(f"{self._path}.new")
            fresh.write_bytes(msgspec.json.encode(envelope))
            os.replace(fresh, self._path)
        return value

    def _load(self) -> T:
        try:
            envelope = msgspec.json.decode(self._path.read_bytes(), type=_Envelope)
            return self._decoder.decode(envelope.value) if envelope.epoch == self._epoch else self._initial
        except (OSError, *MALFORMED):
            return self._initial
