"""Where an issuer's key set comes from: a file, or a URL that is asked without following anybody's redirects."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.identity.signatures import KeySetError

MAX_BYTES = 1024 * 1024


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


def source_of(jwks: str, ca: str, folder: Path) -> FileSource | UrlSource:
    """The source that a trust file in ``folder`` means by ``jwks``: a URL, or a file that may be relative to it."""
    if jwks.startswith(("https:", "http:")):
        return UrlSource(jwks, folder / ca if ca else None)
    return FileSource(folder / jwks)
