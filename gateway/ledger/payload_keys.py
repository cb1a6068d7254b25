"""Secrets that wrap the keys of payloads: where they come from, and how they are destroyed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from gateway.ledger import files
from gateway.ledger.errors import KeyMissing
from gateway.ledger.subject_keys import SubjectKeys

_INDEX = "index.key"


class KeySource(Protocol):
    """Where key-encryption secrets come from: files here, a KMS elsewhere."""

    def prepare(self) -> None:
        """Make the first secrets, where nothing was kept yet; those that are there stay."""
        ...

    def current(self) -> int:
        """The generation that new payloads use. Raises: KeyMissing when there is none."""
        ...

    def secret(self, generation: int) -> bytes:
        """32 secret bytes. Raises: KeyMissing when the generation was destroyed or is unknown."""
        ...

    def index_secret(self) -> bytes:
        """32 secret bytes for the subject index; the same for ever. Raises: KeyMissing."""
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

    def prepare(self) -> None:
        if not self.generations():
            self.rotate(1)
        self._write(self.directory / _INDEX)

    def current(self) -> int:
        found = self.generations()
        if not found:
            raise KeyMissing(
                f"{self.directory} holds no payload key, but there are records: restore it, or give up what was kept "
                "and make a new one with 'gateway ledger rotate-payload-key'"
            )
        return found[-1]

    def secret(self, generation: int) -> bytes:
        return self._read(self._path(generation))

    def index_secret(self) -> bytes:
        return self._read(self.directory / _INDEX)

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
            raise KeyMissing(
                f"{path} is missing: restore it; what was kept under this key cannot be read or found"
            ) from None
        except (ValueError, OSError) as error:
            raise KeyMissing(f"{path} cannot be read as a key ({error}): restore it") from error
        if len(secret) != 32:
            raise KeyMissing(f"{path} holds {len(secret)} bytes, a key has 32: restore it")
        return secret

    def _write(self, path: Path) -> None:
        """Unless it is there."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.create(path, os.urandom(32).hex().encode() + b"\n")
