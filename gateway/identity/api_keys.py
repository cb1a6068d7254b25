"""API keys: a key's text in, the principal it was made for out."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from gateway.errors import Unauthenticated
from gateway.identity.key_file import KeyFileError, StoredKey, parse_keys
from gateway.types import Principal

_log = logging.getLogger(__name__)

_CHECK_EVERY_S = 0.2


class _Holder(NamedTuple):
    """What one stored key proves, built once a reload so that a call only looks it up."""

    principal: Principal
    expires_s: int
    revoked: bool


class ApiKeys:
    """The keys in force, read from a key file and again soon after it changes.

    The file is looked at when a key is checked, at most every 200 ms. A missing file holds no keys; a bad one
    is logged and the last good one stays in force. One instance serves one event loop.
    """

    def __init__(self, path: Path, clock_s: Callable[[], float]) -> None:
        self._path = path
        self._clock_s = clock_s
        self._holders: Mapping[bytes, _Holder] = {}
        self._seen: tuple[int, ...] | None = None
        self._checked_s = float("-inf")

    def open(self) -> None:
        """Read the file for the first time. Raises: KeyFileError, so that no gateway starts on a bad file."""
        self._checked_s = self._clock_s()
        self._seen = self._stamp()
        self._holders = self._read()

    def reload(self) -> None:
        """Look at the file now. Costs one ``stat`` when it did not change; never raises."""
        self._checked_s = self._clock_s()
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._holders = self._read()
        except KeyFileError as error:
            _log.error("identity.keys.refused", extra={"path": str(self._path), "cause": str(error)})
        else:
            _log.info("identity.keys.loaded", extra={"path": str(self._path), "keys": len(self._holders)})

    def prove(self, key: str) -> Principal:
        """The principal that ``key`` was made for. A few microseconds, no await.

        Raises: Unauthenticated for a key that is unknown, expired or revoked.
        """
        now = self._clock_s()
        if not 0.0 <= now - self._checked_s < _CHECK_EVERY_S:  # a clock set back counts as time passed
            self.reload()
        if not key.isascii():
            raise Unauthenticated("api_key_malformed")
        # Only hashes are compared, so no timing tells how much of a guessed secret was right.
        holder = self._holders.get(hashlib.sha256(key.encode("ascii")).digest())
        if holder is None:
            raise Unauthenticated("api_key_unknown")
        if holder.revoked:
            raise Unauthenticated(f"api_key_revoked: {holder.principal.credential}")
        if 0 < holder.expires_s <= now:
            raise Unauthenticated(f"api_key_expired: {holder.principal.credential}")
        return holder.principal

    def _stamp(self) -> tuple[int, ...] | None:
        """What changes when the file does; None where there is none, or none that we may see."""
        try:
            stat = os.stat(self._path)
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size

    def _read(self) -> dict[bytes, _Holder]:
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o002:
                    raise KeyFileError(f"{self._path}: everybody may write it; chmod 600 {self._path}")
                data = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise KeyFileError(f"{self._path}: cannot be read: {error.strerror}") from error
        return {bytes.fromhex(k.hash): _holder(k) for k in parse_keys(data, str(self._path))}


def _holder(key: StoredKey) -> _Holder:
    principal = Principal(
        id=key.id,
        kind=key.kind,
        tenant=key.tenant,
        groups=key.groups,
        auth="api_key",
        credential=key.prefix,
        authenticated_s=key.created_s,
    )
    return _Holder(principal, key.expires_s, bool(key.revoked_s))
