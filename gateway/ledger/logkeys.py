"""The keys that sign heads: private halves as files of mode 0600, public halves in a keyring that is never shortened.

The keyring gives each key a range of tree sizes, so that a key which was retired (or stolen) is believed
for what it signed in its time and for nothing later. Auditors keep their own copy of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gateway.ledger import files
from gateway.ledger.errors import KeyMissing, LedgerCorrupt
from gateway.ledger.note import BadNote, VerifierKey, parse_key
from gateway.ledger.signature import PrivateKey

_KINDS: dict[str, type[Ed25519PrivateKey] | type[MLDSA44PrivateKey]] = {
    "ed25519": Ed25519PrivateKey,
    "mldsa44": MLDSA44PrivateKey,
}


class LogKeys:
    """Private keys in one directory: ``0001-ed25519.pem``, ``0001-mldsa44.pem``, ... Higher numbers are newer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, kind: str = "ed25519") -> list[PrivateKey]:
        """The keys of ``kind`` in use, oldest first; two during a rotation. Raises: KeyMissing for a broken file."""
        return [self._read(path, kind) for path in self._paths(kind)]

    def make(self, kind: str = "ed25519") -> Path:
        """Make the next key of ``kind`` and return its file."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = self._paths(kind)
        path = self.directory / f"{int(paths[-1].name[:4]) + 1 if paths else 1:04d}-{kind}.pem"
        pem = (
            _KINDS[kind]
            .generate()
            .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        files.create(path, pem)
        return path

    def retire(self, kind: str = "ed25519") -> None:
        """Destroy the oldest of two keys. Raises: KeyMissing when there is only one."""
        paths = self._paths(kind)
        if len(paths) < 2:
            raise KeyMissing(f"{self.directory} holds one {kind} key: make the next one before this is retired")
        files.destroy(paths[0])

    def _paths(self, kind: str) -> list[Path]:
        return sorted(self.directory.glob(f"[0-9][0-9][0-9][0-9]-{kind}.pem"))

    def _read(self, path: Path, kind: str) -> PrivateKey:
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError, OSError) as error:
            raise KeyMissing(f"{path} cannot be read as a private key ({error}): restore it") from error
        if not isinstance(key, _KINDS[kind]):
            raise KeyMissing(f"{path} holds a {type(key).__name__}, expected {kind}: restore it")
        return key


class Trusted(NamedTuple):
    """A public key and the tree sizes that it may sign: ``first <= size``, and ``size <= last`` unless last is None."""

    key: VerifierKey
    first: int
    last: int | None


class Keyring:
    """A text file, one line a key: ``<verifier key> <first size> <last size or ->``. ``#`` begins a comment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Trusted]:
        """All keys; [] when there is no file. Raises: LedgerCorrupt naming the line."""
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise LedgerCorrupt(f"keyring {self.path} cannot be read ({error})") from error
        found = []
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split("#")[0].split()
            if not words:
                continue
            try:
                found.append(_trusted(words))
            except (BadNote, ValueError) as error:
                raise LedgerCorrupt(
                    f"keyring {self.path}, line {number}: expected a verifier key, a first and a last size: {error}"
                ) from error
        return found

    def for_head(self, origin: str, size: int) -> list[VerifierKey]:
        """The keys that may sign a head of ``origin`` at ``size``."""
        return [
            entry.key
            for entry in self.entries()
            if entry.key.name == origin and entry.first <= size and (entry.last is None or size <= entry.last)
        ]

    def trust(self, key: VerifierKey, first: int) -> bool:
        """Add ``key`` from ``first`` on, unless it is there; True if it was new."""
        entries = self.entries()
        if any(entry.key == key for entry in entries):
            return False
        self._write([*entries, Trusted(key, first, None)])
        return True

    def retire(self, key: VerifierKey, last: int) -> None:
        """Believe ``key`` for no tree larger than ``last`` any more."""
        self._write([entry._replace(last=last) if entry.key == key else entry for entry in self.entries()])

    def _write(self, entries: list[Trusted]) -> None:
        lines = [f"{entry.key} {entry.first} {'-' if entry.last is None else entry.last}\n" for entry in entries]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(self.path, "".join(lines).encode())


def _trusted(words: list[str]) -> Trusted:
    key, first, last = words[0], words[1] if len(words) > 1 else "0", words[2] if len(words) > 2 else "-"
    return Trusted(parse_key(key), int(first), None if last == "-" else int(last))
