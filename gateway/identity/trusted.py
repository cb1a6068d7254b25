"""The trust in force: a trust file's issuers with their keys at hand, and its certificate rules."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from gateway.identity.jwks import KeySet
from gateway.identity.jwt import Issuer, JwtTokens
from gateway.identity.key_sources import FileSource, source_of
from gateway.identity.mtls import ClientCertificates
from gateway.identity.revocation import RevocationError, Revocations, read_list
from gateway.identity.signatures import KeySetError
from gateway.identity.stamps import Stamps, stamps
from gateway.identity.trust import IssuerEntry, Trust, TrustError, read_trust

_log = logging.getLogger(__name__)


class Trusted:
    """Tokens and certificates as a trust file wants them, read again by ``reload``, and by ``follow`` when the file,
    or one that it names, has changed. For one event loop.

    ``backups`` is a folder for the issuers' last good keys. An issuer that cannot be reached is no reason not to
    start: its tokens are UNAVAILABLE until it is. A key file that cannot be read is one. ``tokens`` and
    ``certificates`` are None where the file has no entries for them; both are other objects after a ``reload``.
    """

    def __init__(self, path: Path, clock_s: Callable[[], float], *, backups: Path | None = None) -> None:
        self._path = path
        self._clock_s = clock_s
        self._backups = backups
        self._key_sets: list[KeySet] = []
        self._watched: tuple[Path, ...] = (path,)
        self._seen: Stamps = ()
        self.tokens: JwtTokens | None = None
        self.certificates: ClientCertificates | None = None

    async def open(self) -> None:
        """Read the file and fetch the keys. Raises: TrustError."""
        await self._take()

    async def reload(self) -> None:
        """Read the file again; what cannot be used is logged and the last good trust stays in force."""
        try:
            await self._take()
        except TrustError as error:
            _log.error("identity.trust.refused", extra={"path": str(self._path), "cause": str(error)})

    async def follow(self) -> bool:
        """Reload if a file has changed since it was last read, good or bad; whether one had."""
        if stamps(self._watched) == self._seen:
            return False
        await self.reload()
        return True

    async def close(self) -> None:
        """Stop fetching keys."""
        for key_set in self._key_sets:
            await key_set.close()

    async def _take(self) -> None:
        """Bring the trust on file into force, or nothing of it. Raises: TrustError."""
        self._seen = stamps(self._watched)
        trust = read_trust(self._path)
        self._watched = (self._path, *trust.files(self._path.parent))
        self._seen = stamps(self._watched)
        revocations = self._revocations(trust)
        key_sets: list[KeySet] = []
        issuers: list[Issuer] = []
        try:
            for entry in trust.issuers:
                key_sets.append(self._key_set(entry))
                await self._open(entry, key_sets[-1])
                issuers.append(Issuer(entry.rules(), key_sets[-1], frozenset(entry.algorithms)))
        except TrustError:
            for key_set in key_sets:
                await key_set.close()
            raise
        self._key_sets, old = key_sets, self._key_sets
        self.tokens = JwtTokens(issuers, self._clock_s) if issuers else None
        self.certificates = None
        if trust.rules:
            self.certificates = ClientCertificates(trust.rules, self._clock_s, revocations=revocations)
        for key_set in old:
            await key_set.close()
        counts = {"issuers": len(issuers), "certificate_rules": len(trust.rules)}
        _log.info("identity.trust.loaded", extra={"path": str(self._path), **counts})

    def _revocations(self, trust: Trust) -> Revocations:
        """Raises: TrustError."""
        folder = self._path.parent
        try:
            return Revocations([read_list(folder / each.crl, folder / each.ca) for each in trust.revocations])
        except RevocationError as error:
            raise TrustError(f"{self._path}: revocation: {error}") from error

    def _key_set(self, entry: IssuerEntry) -> KeySet:
        name = f"jwks-{hashlib.sha256(entry.issuer.encode()).hexdigest()[:16]}.json"
        source = source_of(entry, self._path.parent)
        # A key file is at hand at every start; a copy of it could only bring back what was taken out of it.
        backups = None if isinstance(source, FileSource) else self._backups
        return KeySet(
            source,
            self._clock_s,
            refresh_s=entry.refresh_s,
            grace_s=entry.grace_s,
            backup=backups / name if backups is not None else None,
        )

    async def _open(self, entry: IssuerEntry, key_set: KeySet) -> None:
        try:
            await key_set.open()
        except KeySetError as error:
            if entry.jwks and not entry.jwks.startswith(("https:", "http:")):
                raise TrustError(f"{self._path}: keys of issuer {entry.issuer!r} in {entry.jwks}: {error}") from error
            extra = {"issuer": entry.issuer, "jwks": entry.jwks, "cause": str(error)}
            _log.error("identity.key_set.unreachable", extra=extra)
