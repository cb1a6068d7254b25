"""Secrets that a gateway makes for itself and keeps beside its data."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.app.failure import StartupError

_BYTES = 32


def ensure_secret(path: Path) -> bytes:
    """The 32 random bytes in ``path``, made on first use; readable by the owner alone, durable on return.

    Raises: StartupError when the file cannot be made or read, or does not hold a secret.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = path.with_suffix(".new")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, os.urandom(_BYTES))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.replace(path)
        secret = path.read_bytes()
    except OSError as error:
        raise StartupError(f"secret {path} cannot be used: {error.strerror}") from error
    if len(secret) != _BYTES:
        raise StartupError(f"secret {path} has {len(secret)} bytes, expected {_BYTES}; restore it from a backup")
    return secret
