"""Client certificates: mapping by rule, what makes one ambiguous, and validity at every call."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unauthenticated
from gateway.identity.mtls import CertificateRule, ClientCertificates, RuleError

NOW = 1_795_000_000
KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}
WORKLOAD = CertificateRule(
    uri=r"spiffe://acme\.example/ns/(?P<ns>[^/]+)/sa/(?P<sa>[^/]+)",
    id="{sa}",
    tenant="{ns}",
    groups=("workloads", "ns-{ns}"),
)
PERSON = CertificateRule(subject={"CN": "(?P<cn>.+)", "O": "(?P<o>acme|globex)"}, id="{cn}", tenant="{o}", kind="user")


def certificate(
    *subject: tuple[str, str], uris: tuple[str, ...] = (), ca: bool = False, start: int = NOW - 100, days: int = 1
) -> bytes:
    """A certificate in DER; who signed it does not matter here, the TLS layer has looked at that."""
    name = x509.Name([x509.NameAttribute(NAMES[key], value) for key, value in subject])
    start_at = datetime.fromtimestamp(start, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme CA")]))
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(start_at)
        .not_valid_after(start_at + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("x"), *names]), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


class Clock:
    """Seconds that a test moves."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


def cause(proof: ClientCertificates, der: bytes) -> str:
    with pytest.raises(Unauthenticated) as caught:
        proof.prove(der)
    return caught.value.cause.partition(":")[0]


def proof(*rules: CertificateRule) -> ClientCertificates:
    for rule in rules or (WORKLOAD, PERSON):
        rule.check()
    return ClientCertificates(rules or (WORKLOAD, PERSON), Clock())


def test_a_spiffe_id_names_a_workload() -> None:
    found = proof().prove(certificate(("CN", "ignored"), uris=("spiffe://acme.example/ns/risk/sa/scorer",)))
    assert (found.id, found.tenant, found.kind, found.auth) == ("scorer", "risk", "service", "mtls")
    assert found.groups == ("workloads", "ns-risk")
    assert found.spiffe_id == "spiffe://acme.example/ns/risk/sa/scorer"
    assert (found.issuer, found.authenticated_s, len(found.credential)) == ("CN=acme CA", NOW - 100, 32)


def test_a_subject_names_a_person() -> None:
    found = proof().prove(certificate(("CN", "alice"), ("O", "acme"), ("OU", "lab")))
    assert (found.id, found.tenant, found.kind, found.spiffe_id) == ("alice", "acme", "user", "")


@pytest.mark.parametrize(
    ("subject", "uris", "expected"),
    [
        ((("CN", "alice"),), (), "certificate_not_mapped"),
        ((("CN", "alice"), ("O", "initech")), (), "certificate_not_mapped"),
        ((("CN", "alice"), ("O", "acmeX")), (), "certificate_not_mapped"),
        ((("CN", "alice"), ("O", "acme"), ("O", "globex")), (), "certificate_not_mapped"),
        ((("CN", "alice"), ("CN", "bob"), ("O", "acme")), (), "certificate_not_mapped"),
        ((("CN", "a b"), ("O", "acme")), (), "certificate_name_unusable"),
        ((("CN", "anonymous"), ("O", "acme")), (), "certificate_name_unusable"),
        ((), ("spiffe://evil.example/ns/risk/sa/scorer",), "certificate_not_mapped"),
        ((), ("spiffe://acme.example/ns/risk/sa/scorer/more",), "certificate_not_mapped"),
        (
            (),
            ("spiffe://acme.example/ns/risk/sa/a", "spiffe://acme.example/ns/other/sa/a"),
            "certificate_with_several_uris",
        ),
        ((), ("spiffe://acme.example/ns/../sa/x",), "certificate_spiffe_id_malformed"),
        ((), ("spiffe://acme.example/ns//sa/x",), "certificate_spiffe_id_malformed"),
        ((), ("spiffe://acme.example/ns/risk/sa/x?y",), "certificate_spiffe_id_malformed"),
        ((), ("spiffe://ACME.example/ns/risk/sa/x",), "certificate_spiffe_id_malformed"),
        ((), ("spiffe:acme",), "certificate_spiffe_id_malformed"),
    ],
)
def test_what_no_rule_names_for_sure_is_refused(
    subject: tuple[tuple[str, str], ...], uris: tuple[str, ...], expected: str
) -> None:
    assert cause(proof(), certificate(*subject, uris=uris)) == expected


def test_a_comma_in_a_name_does_not_make_another_attribute() -> None:
    assert cause(proof(), certificate(("CN", "alice,O=acme"))) == "certificate_not_mapped"


def test_an_authority_speaks_for_nobody() -> None:
    assert cause(proof(), certificate(("CN", "alice"), ("O", "acme"), ca=True)) == "certificate_of_an_authority"


@given(st.binary(max_size=200))
def test_garbage_is_malformed(der: bytes) -> None:
    assert cause(proof(), der) == "certificate_malformed"


def test_every_cut_of_a_certificate_is_refused() -> None:
    whole = certificate(("CN", "alice"), ("O", "acme"))
    for size in range(0, len(whole), 7):
        assert cause(proof(), whole[:size]) == "certificate_malformed"


def test_a_connection_does_not_outlive_its_certificate() -> None:
    clock = Clock()
    checked = ClientCertificates([PERSON], clock)
    der = certificate(("CN", "alice"), ("O", "acme"))
    assert checked.prove(der).id == "alice"
    clock.now = NOW - 100 + 86_400
    assert checked.prove(der).id == "alice"
    clock.now += 0.5
    assert cause(checked, der) == "certificate_expired"
    clock.now = NOW - 101
    assert cause(checked, der) == "certificate_not_yet_valid"


def test_the_first_rule_that_matches_decides() -> None:
    der = certificate(("CN", "alice"), ("O", "acme"))
    boss = dataclasses.replace(PERSON, subject={"CN": "alice"}, id="boss", tenant="top")
    assert proof(boss, PERSON).prove(der).id == "boss"
    assert proof(PERSON, boss).prove(der).id == "alice"


def test_only_so_many_certificates_are_remembered() -> None:
    checked = ClientCertificates([PERSON], Clock(), remembered=2)
    for n in range(5):
        checked.prove(certificate(("CN", f"u{n}"), ("O", "acme")))
    assert len(checked._known) == 2


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (CertificateRule(id="a", tenant="t"), "needs uri or subject"),
        (CertificateRule(id="a", tenant="t", uri="("), "unterminated"),
        (CertificateRule(id="{who}", tenant="t", uri="(?P<a>x)"), "uses {who}, the expressions have a"),
        (CertificateRule(id="{}", tenant="t", uri="x"), "expected {NAME}"),
        (CertificateRule(id="{a.__class__}", tenant="t", uri="(?P<a>x)"), "expected {NAME}"),
        (CertificateRule(id="{a!r}", tenant="t", uri="(?P<a>x)"), "expected {NAME}"),
        (CertificateRule(id="{a", tenant="t", uri="(?P<a>x)"), "'{a'"),
    ],
)
def test_a_rule_that_cannot_work_is_named(rule: CertificateRule, text: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule.check()
    assert text in str(caught.value)
