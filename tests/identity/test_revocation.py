"""Revocation lists: by their authority, complete, and no older than they say."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.errors import Unauthenticated
from gateway.identity.mtls import CertificateRule, ClientCertificates
from gateway.identity.revocation import RevocationError, Revocations, read_list

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
RULE = CertificateRule(id="{user}", tenant="acme", subject={"CN": "(?P<user>[a-z]+)"})


class Authority:
    """Signs certificates and lists."""

    def __init__(self, name: str = "CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self.issue("ca", 1, subject=self.name).public_bytes(Encoding.PEM)

    def issue(self, user: str, serial: int, *, subject: x509.Name | None = None) -> x509.Certificate:
        named = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
        builder = x509.CertificateBuilder().subject_name(named).issuer_name(self.name)
        builder = builder.public_key(self.key.public_key()).serial_number(serial)
        builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + 30 * DAY)
        return builder.sign(self.key, hashes.SHA256())

    def crl(self, *serials: int, critical: bool = False) -> x509.CertificateRevocationList:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(NOW).next_update(NOW + DAY)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
            builder = builder.add_revoked_certificate(entry.build())
        if critical:
            builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def read(tmp_path: Path, authority: Authority) -> Callable[[bytes], Revocations]:
    (tmp_path / "ca.pem").write_bytes(authority.pem)

    def read(crl: bytes) -> Revocations:
        (tmp_path / "crl").write_bytes(crl)
        return Revocations([read_list(tmp_path / "crl", tmp_path / "ca.pem")])

    return read


def outcome(certificate: x509.Certificate, revocations: Revocations, at: datetime.datetime = NOW) -> str:
    """The principal's id, or why there is none."""
    proof = ClientCertificates([RULE], at.timestamp, revocations=revocations)
    try:
        return proof.prove(certificate.public_bytes(Encoding.DER)).id
    except Unauthenticated as error:
        return error.kind


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_what_the_authority_took_back_proves_nobody(
    authority: Authority, read: Callable[[bytes], Revocations], encoding: Encoding
) -> None:
    lists = read(authority.crl(7).public_bytes(encoding))
    assert outcome(authority.issue("ann", 7), lists) == "certificate_revoked"
    assert outcome(authority.issue("bob", 8), lists) == "bob"
    assert outcome(Authority("other").issue("eve", 7), lists) == "eve"  # another authority's number 7
    assert outcome(authority.issue("ann", 7), Revocations()) == "ann"


def test_a_list_that_has_run_out_leaves_unknown_what_it_took_back(
    authority: Authority, read: Callable[[bytes], Revocations]
) -> None:
    lists = read(authority.crl(7).public_bytes(Encoding.PEM))
    bob = authority.issue("bob", 8)
    assert outcome(bob, lists, NOW + DAY) == "bob"
    assert outcome(bob, lists, NOW + DAY + datetime.timedelta(seconds=1)) == "certificate_revocations_outdated"
    assert outcome(Authority("other").issue("eve", 7), lists, NOW + 2 * DAY) == "eve"
    assert outcome(bob, Revocations(), NOW + 31 * DAY) == "certificate_expired"


def test_lists_that_prove_nothing_are_named(
    authority: Authority, read: Callable[[bytes], Revocations], tmp_path: Path
) -> None:
    with pytest.raises(RevocationError, match="no revocation list"):
        read(b"garbage")
    with pytest.raises(RevocationError, match="not signed by the authority"):
        read(Authority().crl(7).public_bytes(Encoding.PEM))  # of the same name, by another key
    with pytest.raises(RevocationError, match="critical extensions"):
        read(authority.crl(7, critical=True).public_bytes(Encoding.PEM))
    with pytest.raises(RevocationError, match="cannot be read"):
        read_list(tmp_path / "none", tmp_path / "ca.pem")
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(RevocationError, match="no revocation list by"):
        read(authority.crl(7).public_bytes(Encoding.PEM))
