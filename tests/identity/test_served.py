"""All credentials at a running gateway, over TLS: who they prove, and what the ledger says."""

from __future__ import annotations

import datetime
import ipaddress
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
import pytest
import tritonclient.grpc.service_pb2 as pb
import tritonclient.grpc.service_pb2_grpc as stubs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from running import Running, start

TRUST = """
[[issuer]]
issuer = "https://idp.example"
audiences = ["gateway"]
jwks = "keys.json"
algorithms = ["ES256"]

[[certificate]]
uri = 'spiffe://acme\\.example/ns/(?P<ns>[^/]+)/sa/(?P<sa>[^/]+)'
id = "{sa}"
tenant = "{ns}"
"""
DAY = datetime.timedelta(days=1)


class Signer(Protocol):
    """See conftest."""

    jwk: dict[str, object]

    def sign(self, claims: dict[str, object], **header: object) -> str: ...


class Authority:
    """A certificate authority for one test run."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self.certificate = self._sign(self.key, self.name, [(x509.BasicConstraints(ca=True, path_length=0), True)])

    def issue(self, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """Certificate and key (PEM) of a server and client called ``names``."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        extensions = [(x509.SubjectAlternativeName(names), False), (usage, False)]
        certificate = self._sign(key, x509.Name([]), extensions)
        return certificate, key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def revoke(self, chain: bytes) -> bytes:
        """A list (PEM) that takes the certificate in ``chain`` back."""
        now, serial = datetime.datetime.now(datetime.UTC), x509.load_pem_x509_certificate(chain).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(now).next_update(now + DAY)
        signed = builder.add_revoked_certificate(entry).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _sign(
        self, key: ec.EllipticCurvePrivateKey, subject: x509.Name, extensions: list[tuple[x509.ExtensionType, bool]]
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - DAY)
        builder = builder.not_valid_after(now + DAY)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass
class Served:
    """A gateway that takes every kind of credential."""

    running: Running
    authority: Authority
    folder: Path

    def ask(self, *metadata: tuple[str, str], certificate: tuple[bytes, bytes] | None = None) -> grpc.StatusCode:
        """The status of ServerMetadata with these credentials."""
        chain, key = certificate or (None, None)
        channel = grpc.ssl_channel_credentials(self.authority.certificate, key, chain)
        with grpc.secure_channel(self.running.url, channel) as open_channel:
            try:
                stubs.GRPCInferenceServiceStub(open_channel).ServerMetadata(
                    pb.ServerMetadataRequest(), metadata=metadata, timeout=10
                )
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
        return grpc.StatusCode.OK

    def workload(self, uri: str) -> tuple[bytes, bytes]:
        return self.authority.issue(x509.UniformResourceIdentifier(uri))


@pytest.fixture
def options() -> tuple[str, ...]:
    return ("--transport", "h2")


@pytest.fixture
def served(options: tuple[str, ...], tmp_path: Path, signers: dict[str, Signer]) -> Iterator[Served]:
    authority = Authority()
    chain, key = authority.issue(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    files = {"ca.pem": authority.certificate, "server.pem": chain, "server.key": key, "trust.toml": TRUST.encode()}
    files["keys.json"] = json.dumps({"keys": [signers["ES256"].jwk]}).encode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    options += ("--identity-trust", str(tmp_path / "trust.toml"))
    for flag, name in (("certificate", "server.pem"), ("key", "server.key"), ("client-ca", "ca.pem")):
        options += (f"--tls-{flag}", str(tmp_path / name))
    running = start(tmp_path / "data", *options)
    yield Served(running, authority, tmp_path)
    running.stop()


def token(signer: Signer, **changes: object) -> tuple[str, str]:
    now = int(time.time())
    good = {"iss": "https://idp.example", "aud": "gateway", "sub": "alice", "tenant": "clinic", "iat": now}
    return "authorization", f"Bearer {signer.sign({**good, 'exp': now + 60, **changes})}"


@pytest.mark.slow
def test_each_credential_proves_its_holder_and_the_ledger_says_whom(
    served: Served, signers: dict[str, Signer], new_signer: type[Signer]
) -> None:
    ok, no = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
    key = ("x-api-key", served.running.key("scorer", "clinic"))
    workload = served.workload("spiffe://acme.example/ns/clinic/sa/batch")
    good, forged = token(signers["ES256"]), token(new_signer("ES256", "kid-ES256"))

    assert served.ask(key) == ok
    assert served.ask(good) == ok
    assert served.ask(certificate=workload) == ok
    assert served.ask(key, good, certificate=workload) == ok
    assert served.ask() == no
    assert served.ask(("x-api-key", key[1] + "0")) == no
    assert served.ask(forged) == no
    assert served.ask(forged, certificate=workload) == no
    assert served.ask(token(signers["ES256"], exp=1)) == no
    assert served.ask(certificate=served.workload("spiffe://evil.example/ns/clinic/sa/batch")) == no
    assert served.ask(certificate=Authority().issue(x509.DNSName("x"))) == grpc.StatusCode.UNAVAILABLE  # no handshake

    (served.folder / "trust.toml").write_text("")
    served.running.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while (status := served.ask(good)) == ok:
        assert time.monotonic() < end, served.running.said()
        time.sleep(0.1)

    assert status == no
    assert served.running.stop() == 0
    rows = [row for row in served.running.export() if row["action"] == "metadata:server_metadata"]
    assert [row["principal"] for row in rows][:4] == ["scorer", "alice", "batch", "batch"]
    assert {row["tenant"] for row in rows[:4]} == {"clinic"}
    refused = ["no_credential", "api_key_unknown", "jwt_signature", "jwt_signature", "jwt_expired"]
    refused.append("certificate_not_mapped")
    assert [(row["outcome"], row["reasons"]) for row in rows[4:10]] == [("unauthenticated", [r]) for r in refused]
    for reason in (*refused, "bearer_token_not_accepted"):
        assert f'"event": "identity.refused.{reason}"' in served.running.said()
    everything = b"".join(path.read_bytes() for path in served.folder.rglob("*") if path.is_file())
    for secret in (key[1], good[1].rsplit(".", 1)[1], forged[1].rsplit(".", 1)[1]):
        assert secret.encode() not in everything


@pytest.mark.slow
def test_keys_and_revocations_on_file_are_followed_without_a_signal(
    served: Served, signers: dict[str, Signer], new_signer: type[Signer]
) -> None:
    ok, no = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
    kept, taken = (served.workload(f"spiffe://acme.example/ns/clinic/sa/{name}") for name in ("kept", "taken"))
    assert [served.ask(certificate=each) for each in (kept, taken)] == [ok, ok]
    assert served.ask(token(signers["ES256"])) == ok

    (served.folder / "ca.crl").write_bytes(served.authority.revoke(taken[0]))
    (served.folder / "trust.toml").write_text(TRUST + '[[revocation]]\ncrl = "ca.crl"\nca = "ca.pem"\n')
    assert becomes(no, lambda: served.ask(certificate=taken)), served.running.said()
    assert served.ask(certificate=kept) == ok
    assert "identity.refused.certificate_revoked" in served.running.said()

    (served.folder / "ca.crl").write_bytes(served.authority.revoke(kept[0]))  # the list alone is replaced
    assert becomes(no, lambda: served.ask(certificate=kept)), served.running.said()
    assert served.ask(certificate=taken) == ok

    other = new_signer("ES256", "next")
    (served.folder / "keys.json").write_text(json.dumps({"keys": [other.jwk]}))
    assert becomes(ok, lambda: served.ask(token(other))), served.running.said()
    assert served.ask(token(signers["ES256"])) == no

    (served.folder / "ca.crl").write_text("garbage")
    assert becomes(True, lambda: "identity.trust.refused" in served.running.said())
    assert served.ask(certificate=kept) == no  # the last good trust stays


def becomes(wanted: object, ask: Callable[[], object]) -> bool:
    """Whether ``ask`` comes to say so within some seconds."""
    end = time.monotonic() + 20
    while ask() != wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--transport", "grpcio", "--tls-require-client")])
def test_the_other_transport_shows_certificates_too(served: Served) -> None:
    ok, no = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
    workload = served.workload("spiffe://acme.example/ns/clinic/sa/batch")
    assert served.ask(certificate=workload) == ok
    assert served.ask(("x-api-key", "wrong"), certificate=workload) == no
    assert served.ask(certificate=served.workload("spiffe://evil.example/ns/clinic/sa/batch")) == no
    assert served.ask() == grpc.StatusCode.UNAVAILABLE
