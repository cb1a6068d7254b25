"""The data directory: one gateway at a time, and only where we can write."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from gateway.app.failure import StartupError
from gateway.app.secret import ensure_secret


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where everything durable of one gateway lives."""

    root: Path

    @property
    def ledger(self) -> Path:
        """Prediction shards, one folder a worker."""
        return self.root / "ledger"

    @property
    def governance(self) -> Path:
        """The governance ledger."""
        return self.root / "governance"

    @property
    def state(self) -> Path:
        """What processes tell each other; may be deleted while nothing runs."""
        return self.root / "state"

    @property
    def observer(self) -> Path:
        """Projections; may be deleted, they are computed again."""
        return self.root / "observer"

    @property
    def policy(self) -> Path:
        """Policy revisions that were in force, and their history."""
        return self.root / "policy"

    @property
    def grants(self) -> Path:
        """Emergency grants, one file each."""
        return self.policy / "grants"

    @property
    def keys(self) -> Path:
        """API keys, hashed."""
        return self.root / "keys.json"

    @property
    def request_key(self) -> Path:
        """Keys the digests of callers' request ids."""
        return self.root / "keys" / "request.key"

    @property
    def mask_key(self) -> Path:
        """Keys the hashes that masks put in place of values."""
        return self.root / "keys" / "mask.key"

    def prepare(self) -> None:
        """Make the folders and the gateway's own secrets; a directory that it makes is open to its owner alone.

        Raises: StartupError naming the folder and what to do.
        """
        for folder in (self.root, self.ledger, self.governance, self.state, self.observer):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                probe = folder / f".probe-{os.getpid()}"
                probe.write_bytes(b"")
                probe.unlink()
            except OSError as error:
                raise StartupError(
                    f"data directory {folder} is not writable: {error.strerror}; give another one with --data DIR"
                ) from error
        ensure_secret(self.request_key)
        ensure_secret(self.mask_key)

    def lock(self) -> int:
        """Hold the directory for this process; returns the open descriptor, closing it releases the lock.

        Raises: StartupError naming the process that holds it.
        """
        path = self.root / "gateway.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StartupError(
                f"data directory {self.root} is in use by another gateway (process {holder}); "
                "stop it, or give this one another directory with --data DIR"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor
