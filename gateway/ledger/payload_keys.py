"""Secrets that wrap the keys of payloads: where they come from, and how they are destroyed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from gateway.ledger import files
from gateway.ledger.errors import KeyMissing
from gateway.ledger.subject_keys import SubjectKeys


class KeySource(Protocol):
    """Where key-encryption secrets come from: files here, a KMS elsewhere."""

    def current(self) -> int:
        """The generation that new payloads use."""
        ...

    def secret(self, generation: int) -> bytes:
        """32 secret bytes. Raises: KeyMissing when the generation was destroyed or is unknown."""
        ...

    def index_secret(self) -> bytes:
        """32 secret bytes for the subject index; the same for ever."""
        ...

    def subjects(self, shard: str) -> SubjectKeys:
        """Where the wrapped keys of a shard's subjects are."""
        ...


class FileKeys:
    """Secrets as files of mode 0600 in one directory: ``kek-000001.key``, ..., ``index.key``; subjects' below."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def generations(self) -> list[int]:
        """Generations whose secret still exists, oldest first."""
        return sorted(int(path.stem[4:]) for path in self.directory.glob("kek-*.key"))

    def current(self) -> int:
        found = self.generations()
        if not found:
            self.rotate(1)
            return 1
        return found[-1]

    def secret(self, generation: int) -> bytes:
        return self._read(self._path(generation))

    def index_secret(self) -> bytes:
        path = self.directory / "index.key"
        if not path.exists():
            self._write(path)
        return self._read(path)

    def subjects(self, shard: str) -> SubjectKeys:
        return SubjectKeys(self.directory / "subjects" / f"{shard}.db")

    def rotate(self, generation: int) -> None:
        """Make the secret of ``generation``, unless somebody else just did."""
        self._write(self._path(generation))

    def destroy(self, generation: int) -> None:
        """Forget a secret for good: overwrite, unlink, sync."""
        files.destroy(self._path(generation))

    def _path(self, generation: int) -> Path:
        return self.directory / f"kek-{generation:06d}.key"

    def _read(self, path: Path) -> bytes:
        try:
            secret = bytes.fromhex(path.read_text("ascii").strip())
        except FileNotFoundError:
            raise KeyMissing(f"{path} is missing: the payloads under this key cannot be read") from None
        except (ValueError, OSError) as error:
            raise KeyMissing(f"{path} cannot be read as a key ({error}): restore it") from error
        if len(secret) != 32:
            raise KeyMissing(f"{path} holds {len(secret)} bytes, a key has 32: restore it")
        return secret

    def _write(self, path: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.create(path, os.urandom(32).hex().encode() + b"\n")
