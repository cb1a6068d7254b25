"""What a server shows and asks for in a TLS handshake, replaceable while it serves."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pem:
    """The files' contents at one moment; no ``client_ca`` means that no client certificate is asked for."""

    cert: bytes
    key: bytes
    client_ca: bytes | None


class ServerTls:
    """Paths of the server's certificate chain, its key and (for mTLS) the CA that signs clients.

    With ``client_ca`` a client may show a certificate; with ``require_client_cert`` it must. TLS 1.2 or
    newer, ALPN ``h2``. ``reload()`` makes new handshakes use the files as they are now; connections that
    stand are left alone. ``follow()`` does so when a file has changed; transports call it while they serve.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None, require_client_cert: bool = False) -> None:
        if require_client_cert and client_ca is None:
            raise ValueError("require_client_cert needs client_ca: the CA file that signs client certificates")
        self.require_client_cert = require_client_cert
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._pem: Pem | None = None
        self._loaded: object = None  # what the files looked like when they were read
        self._failed: object = None
        self._current: ssl.SSLContext | None = None

    @property
    def asks_without_insisting(self) -> bool:
        """True when a client may show a certificate but need not."""
        return self._client_ca is not None and not self.require_client_cert

    def pem(self) -> Pem:
        """Return the files' contents as of the last ``reload`` (or the first use).

        Raises: OSError naming the files when one cannot be read, or when they do not fit together.
        """
        if self._pem is None:
            self.reload()
        assert self._pem is not None  # noqa: S101  # reload() assigns it or raises
        return self._pem

    def context(self) -> ssl.SSLContext:
        """Return a server context that follows ``reload``: each handshake is handed to the newest one.

        Raises: OSError as ``pem`` does.
        """
        self.pem()
        front = self._build()
        front.sni_callback = self._hand_over
        return front

    def reload(self) -> None:
        """Read the files again. All of them are checked first: on an error the old ones stay in use.

        Raises: OSError as ``pem`` does.
        """
        loaded = self._look()
        try:
            current = self._build()
            pem = Pem(
                cert=self._cert.read_bytes(),
                key=self._key.read_bytes(),
                client_ca=self._client_ca.read_bytes() if self._client_ca else None,
            )
        except OSError as error:  # ssl.SSLError is one, and names no file
            files = f"certificate {self._cert}, key {self._key}"
            files += f", client CA {self._client_ca}" if self._client_ca else ""
            raise OSError(error.errno, f"{files}: {error.strerror or error}") from error
        self._pem, self._current, self._loaded = pem, current, loaded

    def follow(self) -> None:
        """Reload if a file has changed. What does not fit together is logged once, and the old files stay in use."""
        seen = self._look()
        if seen in (self._loaded, self._failed):
            return
        try:
            self.reload()
        except OSError as error:
            self._failed = seen
            log.warning("tls.reload_failed", extra={"error": error.strerror})
        else:
            log.info("tls.reloaded", extra={"certificate": str(self._cert)})

    def _look(self) -> object:
        return tuple(_looks(path) for path in (self._cert, self._key, self._client_ca) if path is not None)

    def _hand_over(self, handshake: ssl.SSLObject, name: str | None, front: ssl.SSLContext) -> None:
        # A context of its own, for a context only ever learns new CAs: one that left the file must not be trusted.
        if self._current is not None:
            handshake.context = self._current

    def _build(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(self._cert, self._key)
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED if self.require_client_cert else ssl.CERT_OPTIONAL
            context.load_verify_locations(self._client_ca)
            context.num_tickets = 0  # a resumed session would repeat what an older file had allowed
            context.options |= ssl.OP_NO_TICKET
        return context


def _looks(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
