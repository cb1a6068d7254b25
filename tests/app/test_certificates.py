"""Expiry of the certificates in use: read from what handshakes use, and again when the files change."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.app.certificates import MOST, Certificates, expiries
from gateway.transport.tls import ServerTls

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def certificate(name: str, days: int, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(255)
        .not_valid_before(NOW)
        .not_valid_after(NOW + days * DAY)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def at(days: int) -> int:
    return int((NOW + days * DAY).timestamp())


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_the_soonest_first_and_of_two_with_one_name_the_sooner(key: ec.EllipticCurvePrivateKey) -> None:
    pem = b"".join(certificate(name, days, key) for name, days in (("late", 90), ("two", 9), ("two", 30), ("", 50)))
    assert list(expiries(pem).items()) == [("CN=two", at(9)), ("serial ff", at(50)), ("CN=late", at(90))]


def test_a_long_bundle_is_cut_to_those_that_expire_first(key: ec.EllipticCurvePrivateKey) -> None:
    pem = b"".join(certificate(f"ca{n:02}", 100 - n, key) for n in range(MOST + 5))
    told = expiries(pem)
    assert len(told) == MOST
    assert "CN=ca00" not in told


def test_the_files_in_use_are_told_and_told_anew_after_a_reload(
    key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    chain, secret, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    chain.write_bytes(certificate("gateway", 10, key))
    ca.write_bytes(certificate("callers", 99, key))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(pem)
    tls = ServerTls(chain, secret, ca)
    certificates = Certificates(tls)
    assert certificates.expiries() == {"CN=gateway": at(10), "CN=callers": at(99)}
    fresh = tmp_path / "fresh.pem"
    fresh.write_bytes(certificate("gateway", 40, key))
    os.replace(fresh, chain)
    assert certificates.expiries()["CN=gateway"] == at(10)  # handshakes still use the old one
    tls.follow()
    assert certificates.expiries()["CN=gateway"] == at(40)


def test_without_tls_there_is_nothing_to_tell() -> None:
    assert Certificates(None).expiries() == {}
