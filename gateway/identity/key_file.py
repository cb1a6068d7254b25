"""The file of API keys: who holds which, never the keys themselves.

One JSON object, mode 0600, replaced as a whole: a reader sees the old file or the new one, and after a
crash one of the two. A key has 256 random bits, so a plain SHA-256 of it is safe to store.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from gateway.identity.names import group_defect, name_defect
from gateway.malformed import MALFORMED

KEY_START = "gwk_"


class KeyFileError(Exception):
    """The key file or a request to change it is wrong. The text names the file, what came and what to do."""


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key: ``prefix`` names it in public, ``hash`` is the SHA-256 (hex) of its whole text.

    Times are seconds since 1970; 0 means never. ``created_by`` and ``changed_by`` are the operators' names.
    """

    id: str
    tenant: str
    prefix: str
    hash: str
    kind: Literal["user", "service"] = "service"
    groups: tuple[str, ...] = ()
    created_s: int
    expires_s: int = 0
    revoked_s: int = 0
    created_by: str = ""
    changed_by: str = ""

    def state(self, now_s: float) -> Literal["active", "expired", "revoked"]:
        """Whether the key may be used at ``now_s``. It expires at, not after, ``expires_s``."""
        if self.revoked_s:
            return "revoked"
        return "expired" if 0 < self.expires_s <= now_s else "active"


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: Literal[1] = 1
    keys: tuple[StoredKey, ...] = ()


def key_hash(key: str) -> str:
    """The SHA-256 of a key's text, in hex. Raises: UnicodeEncodeError for text that is not ASCII."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()


def parse_keys(data: bytes, name: str) -> tuple[StoredKey, ...]:
    """The keys in the bytes of a key file called ``name``.

    Raises: KeyFileError naming the first defect; one bad entry makes the whole file bad.
    """
    try:
        keys = msgspec.json.decode(data, type=_Document).keys
    except MALFORMED as error:
        raise KeyFileError(f"{name}: not a key file: {error}; restore it or remove it and create keys") from error
    seen: set[str] = set()
    for n, key in enumerate(keys):
        if defect := _defect(key):
            raise KeyFileError(f"{name}: keys[{n}]: {defect}")
        if key.prefix in seen or key.hash in seen:
            raise KeyFileError(f"{name}: keys[{n}]: key {key.prefix} stands twice; remove one")
        seen.update((key.prefix, key.hash))
    return keys


def _defect(key: StoredKey) -> str:
    for field, name in (("id", key.id), ("tenant", key.tenant)):
        if defect := name_defect(name):
            return f"{field} {name!r}: {defect}"
    for group in key.groups:
        if defect := group_defect(group):
            return f"groups: {group!r}: {defect}"
    if len(key.prefix) != 8 or not key.prefix.isalnum() or not key.prefix.isascii():
        return f"prefix {key.prefix!r}: expected 8 letters or digits"
    if len(key.hash) != 64 or key.hash.strip("0123456789abcdef"):
        return f"hash of key {key.prefix}: expected 64 hex digits of a SHA-256"
    if min(key.created_s, key.expires_s, key.revoked_s) < 0:
        return f"times of key {key.prefix}: expected seconds since 1970, 0 for never"
    return ""


class KeyFile:
    """Reads and changes one key file. Changes are durable on return and safe against other writers."""

    def __init__(self, path: Path, clock_s: Callable[[], float]) -> None:
        self._path = path
        self._clock_s = clock_s

    def read(self) -> tuple[StoredKey, ...]:
        """All keys, oldest first; none where there is no file. Raises: KeyFileError."""
        try:
            return parse_keys(self._path.read_bytes(), str(self._path))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise KeyFileError(f"{self._path}: cannot be read: {error.strerror}") from error

    def create(
        self,
        *,
        id: str,
        tenant: str,
        groups: Sequence[str] = (),
        kind: Literal["user", "service"] = "service",
        expires_in_s: int = 0,
        by: str = "",
    ) -> tuple[str, StoredKey]:
        """A new key: its text, which exists nowhere else from now on, and what was stored of it.

        Several keys may share an id: that is how one rotates. ``expires_in_s`` 0 means never.
        Raises: KeyFileError.
        """
        if expires_in_s < 0:
            raise KeyFileError(f"a key cannot expire {-expires_in_s} s ago; give a positive time or none")
        with self._changing() as keys:
            taken = {k.prefix for k in keys}
            prefix = next(p for p in iter(lambda: secrets.token_hex(4), "") if p not in taken)
            text = f"{KEY_START}{prefix}_{secrets.token_hex(32)}"
            now = int(self._clock_s())
            stored = StoredKey(
                id=id,
                tenant=tenant,
                prefix=prefix,
                hash=key_hash(text),
                kind=kind,
                groups=tuple(groups),
                created_s=now,
                expires_s=now + expires_in_s if expires_in_s else 0,
                created_by=by,
            )
            if defect := _defect(stored):
                raise KeyFileError(f"key not created: {defect}")
            keys.append(stored)
        return text, stored

    def revoke(self, prefix: str, *, by: str = "") -> StoredKey:
        """Revoke a key for ever; revoking it again changes nothing. Raises: KeyFileError."""
        self._find(self.read(), prefix)  # before the lock is made: a mistyped directory is left as it is
        with self._changing() as keys:
            n = self._find(keys, prefix)
            if not keys[n].revoked_s:
                now = max(1, int(self._clock_s()))
                keys[n] = msgspec.structs.replace(keys[n], revoked_s=now, changed_by=by)
        return keys[n]

    def expire(self, prefix: str, at_s: int, *, by: str = "") -> StoredKey:
        """Let a key end at ``at_s``; a key that ends earlier keeps its end. Raises: KeyFileError."""
        self._find(self.read(), prefix)  # before the lock is made: a mistyped directory is left as it is
        with self._changing() as keys:
            n = self._find(keys, prefix)
            if not 0 < keys[n].expires_s <= at_s:
                keys[n] = msgspec.structs.replace(keys[n], expires_s=max(1, at_s), changed_by=by)
        return keys[n]

    def _find(self, keys: Sequence[StoredKey], prefix: str) -> int:
        for n, key in enumerate(keys):
            if key.prefix == prefix:
                return n
        raise KeyFileError(f"{self._path}: no key with prefix {prefix!r}; `gateway keys list` shows them")

    @contextmanager
    def _changing(self) -> Iterator[list[StoredKey]]:
        """The keys to change in place, written back on a clean exit, under the writers' lock."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The lock has a file of its own: the key file is another inode after each change.
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyFileError(f"{self._path}: cannot be changed: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = list(self.read())
            keys = list(before)
            yield keys
            if keys != before:
                self._write(keys)
        finally:
            os.close(lock)

    def _write(self, keys: Sequence[StoredKey]) -> None:
        data = msgspec.json.format(msgspec.json.encode(_Document(keys=tuple(keys)))) + b"\n"
        new = Path(f"{self._path}.{os.getpid()}.new")
        try:
            new.unlink(missing_ok=True)
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(file, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            new.rename(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise KeyFileError(f"{self._path}: cannot be written: {error.strerror}") from error
