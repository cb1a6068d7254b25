"""Certificates that their authority took back: its revocation list (RFC 5280), verified and no older than it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509


class RevocationError(Exception):
    """A revocation list that cannot be used. The text names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One authority's list: serial numbers that do not count any more, and until when the list may be believed."""

    issuer: bytes
    serials: frozenset[int]
    until_s: float


class Revocations:
    """The lists in force, by authority. An authority without a list takes nothing back; one whose list has run out
    leaves unknown what it took back, which counts as revoked."""

    def __init__(self, lists: Sequence[RevocationList] = ()) -> None:
        self._by_issuer: Mapping[bytes, RevocationList] = {each.issuer: each for each in lists}

    def revoked(self, certificate: x509.Certificate) -> bool:
        """Whether its authority's list names it."""
        listed = self._by_issuer.get(certificate.issuer.public_bytes())
        return listed is not None and certificate.serial_number in listed.serials

    def until_s(self, certificate: x509.Certificate) -> float:
        """Until when the answer of ``revoked`` may be believed, in seconds since 1970."""
        listed = self._by_issuer.get(certificate.issuer.public_bytes())
        return listed.until_s if listed is not None else float("inf")


def read_list(path: Path, ca: Path) -> RevocationList:
    """The list in ``path`` (PEM or DER), which the authority in ``ca`` (PEM, the first certificate) has signed.

    Raises: RevocationError.
    """
    try:
        found = _parsed(path.read_bytes())
        authority = x509.load_pem_x509_certificates(ca.read_bytes())[0]
        key = authority.public_key()
        signed = found.issuer == authority.subject and found.is_signature_valid(key)  # type: ignore[arg-type]
    except OSError as error:
        raise RevocationError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise RevocationError(f"{path}: no revocation list by {ca}: {error}") from error
    if not signed:
        raise RevocationError(f"{path}: it was not signed by the authority in {ca}")
    unknown = [each.oid.dotted_string for each in found.extensions if each.critical]
    if unknown:  # parts of a list, or lists for others, look like whole ones to who ignores this
        raise RevocationError(f"{path}: it has critical extensions ({', '.join(unknown)}); a complete list is expected")
    if found.next_update_utc is None:
        raise RevocationError(f"{path}: it does not say until when it holds (nextUpdate)")
    serials = frozenset(entry.serial_number for entry in found)
    return RevocationList(found.issuer.public_bytes(), serials, found.next_update_utc.timestamp())


def _parsed(data: bytes) -> x509.CertificateRevocationList:
    """Raises: ValueError."""
    pem = data.lstrip().startswith(b"-----BEGIN")
    return x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
