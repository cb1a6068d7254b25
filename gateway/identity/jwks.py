"""An issuer's signing keys in force: fetched, kept fresh, and kept for a while when the issuer is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from gateway.errors import Unavailable
from gateway.identity.signatures import BadToken, KeySetError, SigningKey, parse_key_set

_log = logging.getLogger(__name__)


class KeySource(Protocol):
    async def fetch(self) -> bytes:
        """A JWK Set. Raises: KeySetError."""
        ...


class KeySet:
    """The keys of one issuer. One instance serves one event loop.

    Keys are fetched anew every ``refresh_s``, and when a token names a key that we do not have, but for that at
    most every ``cooldown_s``: made-up names cost the issuer nothing. When fetching fails the last good keys serve
    on until ``grace_s`` after they were fetched; then nobody is believed. ``backup`` keeps the last good keys over
    a restart while the issuer is away. ``generation`` changes with the keys.
    """

    def __init__(
        self,
        source: KeySource,
        clock_s: Callable[[], float],
        *,
        refresh_s: float = 300.0,
        cooldown_s: float = 30.0,
        grace_s: float = 86_400.0,
        backup: Path | None = None,
    ) -> None:
        self._source = source
        self._clock_s = clock_s
        self._refresh_s = refresh_s
        self._cooldown_s = cooldown_s
        self._grace_s = grace_s
        self._backup = backup
        self._keys: Mapping[str, SigningKey] = {}
        self._data = b""
        self._fetched_s = float("-inf")
        self._asked_s = float("-inf")
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self.generation = 0

    async def open(self) -> None:
        """Fetch the keys, or take the backup's, and keep them fresh until ``close``.

        Raises: KeySetError when there is neither, so that the caller can decide whether to start without.
        """
        self._refreshing = asyncio.create_task(self._keep_fresh())
        try:
            await self._fetch()
        except KeySetError as error:
            if not self._restore():
                raise
            _log.warning("identity.key_set.from_backup", extra={"source": str(self._source), "cause": str(error)})

    async def close(self) -> None:
        """Stop fetching."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing

    @property
    def good_until_s(self) -> float:
        """Until when the keys may be used, unless they are fetched again."""
        return self._fetched_s + self._grace_s

    async def key(self, kid: str) -> SigningKey:
        """The key called ``kid``; for "" the only one there is. Fetches when we do not have it.

        Raises: BadToken when there is no such key; Unavailable when there are no keys to look in.
        """
        found = self._find(kid)
        if found is None:
            await self._ask_again()
            found = self._find(kid)
        if not self._usable():
            raise Unavailable("signing keys of the token's issuer cannot be fetched; retry later")
        if found is None:
            raise BadToken("jwt_key_unknown" if kid else "jwt_key_not_named")
        return found

    def _find(self, kid: str) -> SigningKey | None:
        if not self._usable():
            return None
        if kid:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _usable(self) -> bool:
        return bool(self._keys) and self._clock_s() < self.good_until_s

    async def _ask_again(self) -> None:
        async with self._fetching:  # those who wait here find the keys that the first one fetched
            if 0 <= self._clock_s() - self._asked_s < self._cooldown_s:
                return
            await self._try()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s if self._usable() else self._cooldown_s)
            async with self._fetching:
                await self._try()

    async def _try(self) -> None:
        try:
            await self._fetch()
        except KeySetError as error:
            left = round(max(0.0, self.good_until_s - self._clock_s())) if self._keys else 0
            extra = {"source": str(self._source), "cause": str(error), "grace_left_s": left}
            _log.error("identity.key_set.refused", extra=extra)

    async def _fetch(self) -> None:
        self._asked_s = self._clock_s()
        data = await self._source.fetch()
        keys = parse_key_set(data)
        self._fetched_s = self._clock_s()
        if data != self._data:
            self._take(keys, data)
        self._keep()

    def _take(self, keys: Mapping[str, SigningKey], data: bytes) -> None:
        self._keys, self._data = keys, data
        self.generation += 1
        _log.info("identity.key_set.loaded", extra={"source": str(self._source), "kids": sorted(keys)})

    def _keep(self) -> None:
        """Write the backup; its modification time says when the keys were fetched. Failing is only logged."""
        if self._backup is None:
            return
        new = Path(f"{self._backup}.{os.getpid()}.new")
        try:
            new.write_bytes(self._data)
            os.utime(new, (self._fetched_s, self._fetched_s))
            new.replace(self._backup)
        except OSError as error:
            _log.warning("identity.key_set.backup_failed", extra={"path": str(self._backup), "cause": error.strerror})

    def _restore(self) -> bool:
        """Whether the backup had keys that are still good; now they are ours."""
        if self._backup is None:
            return False
        try:
            fetched_s, data = self._backup.stat().st_mtime, self._backup.read_bytes()
            keys = parse_key_set(data)
        except (OSError, KeySetError):
            return False
        if not 0 <= self._clock_s() - fetched_s < self._grace_s:
            return False
        self._fetched_s = fetched_s
        self._take(keys, data)
        return True
