"""What the operating system does with files, durably. Each function names its system calls on the happy path."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def fsync_directory(directory: Path) -> None:
    """Make names in ``directory`` durable: open, fsync, close."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Readers see the old bytes or the new ones: open, write, fsync, close, rename, fsync(directory)."""
    draft = _draft(path, data, mode)
    draft.rename(path)
    fsync_directory(path.parent)


def create(path: Path, data: bytes, mode: int = 0o600) -> bool:
    """Write a file unless it is there; True if this call made it: open, write, fsync, close, link, unlink, fsync."""
    draft = _draft(path, data, mode)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    fsync_directory(path.parent)
    return True


def destroy(path: Path) -> None:
    """Overwrite a small secret file and remove it: open, write, fsync, close, unlink, fsync(directory)."""
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    fsync_directory(path.parent)


def _draft(path: Path, data: bytes, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return draft
