"""Where an issuer's key set comes from: a file, or a URL that is asked without following anybody's redirects."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from gateway.identity.signatures import KeySetError
from gateway.malformed import MALFORMED

MAX_BYTES = 1024 * 1024


class Source(Protocol):
    """What an issuer's entry says of its keys."""

    @property
    def issuer(self) -> str: ...

    @property
    def jwks(self) -> str: ...

    @property
    def ca(self) -> str: ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A JWK Set in a file, such as a mounted secret."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    async def fetch(self) -> bytes:
        """The file's bytes. Raises: KeySetError."""
        try:
            return await asyncio.to_thread(self.path.read_bytes)
        except OSError as error:
            raise KeySetError(f"cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A JWK Set at an ``https`` URL; ``http`` only to this machine. ``ca`` replaces the system's authorities."""

    url: str
    ca: Path | None = None
    timeout_s: float = 5.0

    def __str__(self) -> str:
        return self.url

    async def fetch(self) -> bytes:
        """The body of a 200 answer. Raises: KeySetError."""
        try:
            return await asyncio.to_thread(self._get)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise KeySetError(f"cannot be fetched: {type(error).__name__}: {error}") from error

    def _get(self) -> bytes:
        parts = urlsplit(self.url)
        if parts.hostname is None or parts.username is not None:
            raise KeySetError("expected https://HOST[:PORT]/PATH without a user")
        connection = self._connection(parts.scheme, parts.hostname, parts.port)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"accept": "application/jwk-set+json, application/json"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise KeySetError(f"answered {answer.status} {answer.reason}, expected 200")
            body = answer.read(MAX_BYTES + 1)
        finally:
            connection.close()
        if len(body) > MAX_BYTES:
            raise KeySetError(f"answered more than {MAX_BYTES} bytes")
        return body

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "https":
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca is not None else None)
            return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=context)
        if scheme == "http" and host in ("127.0.0.1", "::1", "localhost"):
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        raise KeySetError(f"{scheme}://{host} is not https; anybody on the way could give other keys")


class _Provider(msgspec.Struct, frozen=True):
    """What of a provider's own description is read."""

    issuer: str
    jwks_uri: str


@dataclass(frozen=True, slots=True)
class DiscoveredSource:
    """The JWK Set that ``issuer`` names in its own description (OpenID Connect Discovery 1.0, section 4).

    The description is asked for each time: a provider may move its keys. It must be about exactly this issuer.
    """

    issuer: str
    ca: Path | None = None

    def __str__(self) -> str:
        return f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    async def fetch(self) -> bytes:
        """The key set. Raises: KeySetError."""
        said = await UrlSource(str(self), self.ca).fetch()
        try:
            provider = msgspec.json.decode(said, type=_Provider)
        except MALFORMED as error:
            raise KeySetError(f"{self} is no provider's description: {error}") from error
        if provider.issuer != self.issuer:
            raise KeySetError(f"{self} speaks for issuer {provider.issuer!r}, expected {self.issuer!r}")
        return await UrlSource(provider.jwks_uri, self.ca).fetch()


def source_of(entry: Source, folder: Path) -> FileSource | UrlSource | DiscoveredSource:
    """The source that an entry in a trust file in ``folder`` means: a URL, a file that may be relative to it, or
    without ``jwks`` what the issuer says itself."""
    jwks, ca = entry.jwks, folder / entry.ca if entry.ca else None
    if not jwks:
        return DiscoveredSource(entry.issuer, ca)
    if jwks.startswith(("https:", "http:")):
        return UrlSource(jwks, ca)
    return FileSource(folder / jwks)
