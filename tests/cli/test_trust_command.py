"""``gateway trust``: what a security team sees before a gateway does."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from typer.testing import CliRunner, Result

from gateway.cli.trust import app

KEY = ec.generate_private_key(ec.SECP256R1())
TRUST = """
[[issuer]]
issuer = "https://idp.example"
audiences = ["gateway"]
jwks = "keys.json"

[[certificate]]
uri = 'spiffe://acme\\.example/(?P<who>.+)'
id = "{who}"
tenant = "acme"
"""


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    jwk = {**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k1"}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk]}))
    (tmp_path / "trust.toml").write_text(TRUST)
    return tmp_path / "trust.toml"


def token(**changes: object) -> str:
    now = int(time.time())
    claims = {
        "iss": "https://idp.example",
        "aud": "gateway",
        "sub": "u1",
        "tenant": "acme",
        "iat": now,
        "exp": now + 60,
    }
    return jwt.encode({**claims, **changes}, KEY, "ES256", headers={"kid": "k1"})


def certificate(folder: Path, uri: str) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(KEY.public_key()).serial_number(1).not_valid_before(now)
    builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    signed = builder.add_extension(names, critical=False).sign(KEY, hashes.SHA256())
    (folder / "client.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return folder / "client.pem"


def test_check_shows_issuers_and_their_keys(trust: Path) -> None:
    result = run("check", trust, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [(i["issuer"], i["kids"]) for i in found["issuers"]] == [("https://idp.example", ["k1"])]
    assert found["certificate_rules"] == 1
    assert "https://idp.example" in run("check", trust).stdout


def test_check_fails_on_keys_that_cannot_be_had(trust: Path) -> None:
    (trust.parent / "keys.json").unlink()
    result = run("check", trust, "--json")
    assert result.exit_code == 1
    assert "cannot be read" in json.loads(result.stdout)["issuers"][0]["error"]


def test_check_names_what_is_wrong(trust: Path) -> None:
    trust.write_text("[[issuers]]")
    result = run("check", trust)
    assert result.exit_code == 1
    assert "the nearest known one is `issuer`" in result.stderr


def test_who_prints_the_principal_of_a_token_and_of_a_certificate(trust: Path) -> None:
    by_token = run("who", trust, "--token-file", "-", stdin=token() + "\n")
    assert by_token.exit_code == 0
    assert json.loads(by_token.stdout)["id"] == "u1"
    shown = certificate(trust.parent, "spiffe://acme.example/batch")
    by_certificate = run("who", trust, "--certificate", shown)
    assert (json.loads(by_certificate.stdout)["id"], json.loads(by_certificate.stdout)["auth"]) == ("batch", "mtls")


def test_who_says_why_not_and_repeats_no_token(trust: Path) -> None:
    bad = token(aud="another")
    result = run("who", trust, "--token-file", "-", stdin=bad)
    assert result.exit_code == 1
    assert "refused: jwt_audience" in result.stderr
    assert bad not in result.output
    shown = certificate(trust.parent, "spiffe://evil.example/batch")
    assert "refused: certificate_not_mapped" in run("who", trust, "--certificate", shown).stderr


@pytest.mark.parametrize("arguments", [(), ("--token-file", "a", "--certificate", "b"), ("--certificate", "none.pem")])
def test_who_needs_one_thing_that_it_can_read(trust: Path, arguments: tuple[str, ...]) -> None:
    result = run("who", trust, *arguments)
    assert result.exit_code != 0
    assert result.stdout == ""
