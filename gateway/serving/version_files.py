"""The bytes of one model version: read once, digested, and never from outside the model's directory.

``Contents.digest`` covers exactly the bytes that are loaded: for a model in one file it is that file's
SHA-256 (``sha256sum model.onnx`` agrees); with external weights it is the SHA-256 of the listing that
``sha256sum`` prints for all of them, sorted by name.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gateway.serving.onnx_file import NotOnnx, OnnxFile, inspect
from gateway.serving.servable import ModelUnloadable

Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""(path, inode, size, modification time in ns) of files: equal stamps, unchanged files."""


@dataclass(frozen=True, slots=True)
class Contents:
    """One version, in memory. ``external`` maps the locations named in the graph to their bytes."""

    model: bytes
    external: Mapping[str, bytes]
    facts: OnnxFile
    digest: str


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """Where one version lies. ``root`` is the model's directory, which nothing may leave;
    ``path`` is the model file, or a directory of the same name that holds it and its weights."""

    root: Path
    path: Path

    @property
    def main(self) -> Path:
        """The ONNX file itself."""
        return self.path / self.path.name if self.path.is_dir() else self.path

    def __str__(self) -> str:
        return str(self.main)

    def stamp(self) -> Stamp:
        """What tells whether any file beside the model file changed, without reading them."""
        found = []
        for path in sorted(self.main.parent.rglob("*")):
            try:
                status = path.stat()
            except OSError:  # a link to nowhere matters only if the model needs it, and then reading it says so
                status = path.lstat()
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def size(self) -> int:
        """Bytes of the files beside the model file. Raises: ModelUnloadable."""
        try:
            return sum(size for _, _, size, _ in self.stamp())
        except OSError as error:
            raise ModelUnloadable(f"{self.main}: {error.strerror or error}") from error

    def read(self) -> Contents:
        """Read and digest every file of the version. Blocking.

        Raises: ModelUnloadable naming the file and what is wrong with it.
        """
        model = self._bytes(self.main)
        try:
            facts = inspect(model)
        except NotOnnx as error:
            raise ModelUnloadable(f"{self.main}: not a complete ONNX model: {error}") from error
        external = {name: self._external(name) for name in sorted(facts.external)}
        return Contents(model, external, facts, digest(self.main.name, model, external))

    def beside(self, path: str) -> bytes:
        """A file of the model's directory, by its path in there. Raises: ModelUnloadable."""
        return self._bytes(self.root / path)

    def _external(self, location: str) -> bytes:
        if not location or "\0" in location or Path(location).is_absolute() or ".." in Path(location).parts:
            raise ModelUnloadable(
                f"{self.main}: external data '{location}' must be a relative path inside the model's directory"
            )
        return self._bytes(self.main.parent / location)

    def _bytes(self, path: Path) -> bytes:
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self.root.resolve(strict=True)):
                raise ModelUnloadable(f"{path}: leads to {real}, outside the model's directory {self.root}")
            if not stat.S_ISREG(real.stat().st_mode):
                raise ModelUnloadable(f"{path}: not a regular file")
            return real.read_bytes()
        except OSError as error:
            raise ModelUnloadable(f"{path}: {error.strerror or error}") from error


def digest(name: str, model: bytes, external: Mapping[str, bytes]) -> str:
    """``sha256:`` and the digest of one version's bytes."""
    main = hashlib.sha256(model).hexdigest()
    if not external:
        return f"sha256:{main}"
    entries = {name: main} | {path: hashlib.sha256(data).hexdigest() for path, data in external.items()}
    listing = "".join(f"{entries[path]}  {path}\n" for path in sorted(entries))
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
