"""When the certificates in use expire: what a server shows, and what it trusts."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509

from gateway.transport.tls import Pem, ServerTls

MOST = 50
"""A bundle of CAs may be long; those that expire first are told."""


class Certificates:
    """The expiry of each certificate in force, by subject. ``tls`` None: there is none. For one thread."""

    def __init__(self, tls: ServerTls | None) -> None:
        self._tls = tls
        self._read: Pem | None = None
        self._expiries: Mapping[str, int] = {}

    def expiries(self) -> Mapping[str, int]:
        """Seconds since 1970, by subject, of the files as handshakes use them now; parsed again only when they change.

        Raises: OSError when the files were never readable.
        """
        if self._tls is None:
            return {}
        pem = self._tls.pem()
        if pem is not self._read:
            self._expiries, self._read = expiries(pem.cert + b"\n" + (pem.client_ca or b"")), pem
        return self._expiries


def expiries(pem: bytes) -> Mapping[str, int]:
    """The expiry of each certificate in ``pem``, the soonest first; of two with one subject, the sooner."""
    found: dict[str, int] = {}
    for certificate in x509.load_pem_x509_certificates(pem):
        subject = certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"
        at = int(certificate.not_valid_after_utc.timestamp())
        found[subject] = min(at, found.get(subject, at))
    return dict(sorted(found.items(), key=lambda item: item[1])[:MOST])
