"""The canaries in the policy directory, for an engine that has a policy of its own to answer them with."""

from __future__ import annotations

from pathlib import Path

from gateway.policy.archive import read_archive
from gateway.policy.canaries import FILE, Canary, parse
from gateway.policy.reloader import Fingerprint, fingerprint


class LocalCanaries:
    """``canaries.json`` in a directory or archive; no such file states nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Fingerprint | None = None
        self.stated: tuple[Canary, ...] = ()

    def follow(self) -> bool:
        """Whether other canaries are stated now. Raises: PolicyInvalid for a file that cannot be read."""
        file = self._path if self._path.is_file() else self._path / FILE
        seen = fingerprint(file)
        if seen == self._seen:
            return False
        stated = parse(self._raw(file))
        changed = stated != self.stated
        self.stated, self._seen = stated, seen
        return changed

    def _raw(self, file: Path) -> bytes:
        if file == self._path:
            return read_archive(file).get(FILE, b"")
        return file.read_bytes() if file.is_file() else b""
