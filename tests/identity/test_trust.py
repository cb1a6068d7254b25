"""The trust file: what it may say, how it is refused, and reloading it while calls go on."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from gateway.errors import Unauthenticated, Unavailable
from gateway.identity.chain import Chain
from gateway.identity.jwt import JwtTokens
from gateway.identity.trust import TrustError, read_trust
from gateway.identity.trusted import Trusted
from gateway.types import Credentials

ISSUER = """
[[issuer]]
issuer = "https://idp.example"
audiences = ["gateway"]
jwks = "keys.json"
claims = ["dept"]
"""
CERTIFICATE = """
[[certificate]]
uri = 'spiffe://acme\\.example/ns/(?P<ns>[^/]+)/sa/(?P<sa>[^/]+)'
id = "{sa}"
tenant = "{ns}"
"""


class World(Protocol):
    """See conftest."""

    tokens: JwtTokens

    def token(self, **changes: object) -> str: ...


def written(folder: Path, text: str) -> Path:
    path = folder / "trust.toml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    trust = read_trust(written(tmp_path, ISSUER + CERTIFICATE))
    assert [issuer.rules().kept for issuer in trust.issuers] == [frozenset({"dept"})]
    assert [(rule.id, rule.tenant) for rule in trust.rules] == [("{sa}", "{ns}")]


def test_an_empty_file_trusts_nobody(tmp_path: Path) -> None:
    trust = read_trust(written(tmp_path, ""))
    assert (trust.issuers, trust.rules) == ((), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("issuer = ", "not TOML"),
        ("[[issuers]]", "unknown field `issuers`; the nearest known one is `issuer`"),
        (ISSUER + 'audience = "x"', "nearest known one is `audiences`"),
        (ISSUER + "max_age_s = 'long'", "Expected `int`, got `str` - at `$.issuer[0].max_age_s`"),
        ("[[issuer]]\nissuer = 'x'", "missing required field `audiences`"),
        (ISSUER.replace('["gateway"]', "[]"), "issuer[0] ('https://idp.example'): issuer and at least one audience"),
        (ISSUER.replace('"gateway"', '""'), "at least one audience"),
        (ISSUER + 'algorithms = ["none"]', "algorithms: none not accepted"),
        (ISSUER + 'algorithms = ["HS256"]', "algorithms: HS256 not accepted"),
        (ISSUER + "algorithms = []", "algorithms"),
        (ISSUER.replace("keys.json", "http://idp.example/keys"), "must be https"),
        (ISSUER + 'service_claim = "gty"', "go together"),
        (ISSUER + "leeway_s = 301", "leeway_s between 0 and 300"),
        (ISSUER + "grace_s = 0", "must be positive"),
        (ISSUER + ISSUER, "issuer[1]: 'https://idp.example' stands twice"),
        (CERTIFICATE.replace("{sa}", "{pod}"), "uses {pod}, the expressions have ns, sa"),
        ("[[certificate]]\nid = 'a'\ntenant = 't'", "needs uri or subject"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TrustError) as caught:
        read_trust(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("raw", [b"\xff", b"issuer = " + b"9" * 5_000, b"issuer = " + b"[" * 3_000])
def test_what_is_no_toml_is_said(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "trust.toml").write_bytes(raw)
    with pytest.raises(TrustError, match="not TOML"):
        read_trust(tmp_path / "trust.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="cannot be read"):
        read_trust(tmp_path / "none.toml")


@pytest.fixture
async def trusted(tmp_path: Path, world: World) -> AsyncIterator[Trusted]:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [world.signer.jwk]}))
    trusted = Trusted(written(tmp_path, ISSUER), world.clock, backups=tmp_path)
    await trusted.open()
    yield trusted
    await trusted.close()


async def test_a_trusted_issuer_proves_callers(trusted: Trusted, world: World) -> None:
    chain = Chain(tokens=trusted.tokens, certificates=trusted.certificates)
    found = await chain.authenticate(Credentials(authorization=f"Bearer {world.token(dept='fraud')}"))
    assert (found.id, found.claims) == ("u1", {"dept": "fraud"})
    assert trusted.certificates is None


async def test_a_reload_changes_whom_the_chain_believes(trusted: Trusted, world: World, tmp_path: Path) -> None:
    chain = Chain(tokens=trusted.tokens, certificates=trusted.certificates)
    shown = Credentials(authorization=f"Bearer {world.token()}")
    assert (await chain.authenticate(shown)).id == "u1"
    written(tmp_path, CERTIFICATE)
    await trusted.reload()
    chain.trust(certificates=trusted.certificates, tokens=trusted.tokens)
    with pytest.raises(Unauthenticated) as caught:
        await chain.authenticate(shown)
    assert caught.value.cause == "bearer_token_not_accepted"
    assert trusted.certificates is not None


@pytest.mark.parametrize("bad", ["[[issuers]]", ISSUER.replace("keys.json", "gone.json")])
async def test_a_bad_reload_keeps_the_last_good_trust(
    trusted: Trusted, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    tokens = trusted.tokens
    written(tmp_path, bad)
    with caplog.at_level(logging.ERROR):
        await trusted.reload()
    assert "identity.trust.refused" in [record.message for record in caplog.records]
    assert trusted.tokens is tokens
    assert (await tokens.prove(world.token())).id == "u1"


async def test_a_key_file_that_is_not_there_stops_the_start(tmp_path: Path, world: World) -> None:
    trusted = Trusted(written(tmp_path, ISSUER), world.clock)
    with pytest.raises(TrustError, match=r"keys of issuer 'https://idp.example' in keys.json: cannot be read"):
        await trusted.open()


async def test_an_issuer_that_is_away_does_not_stop_the_start(tmp_path: Path, world: World) -> None:
    path = written(tmp_path, ISSUER.replace("keys.json", "http://127.0.0.1:9/keys"))
    trusted = Trusted(path, world.clock)
    await trusted.open()
    assert trusted.tokens is not None
    with pytest.raises(Unavailable):
        await trusted.tokens.prove(world.token())
    await trusted.close()


def test_the_example_in_the_documentation_is_a_trust_file(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/identity.md").read_text()
    trust = read_trust(written(tmp_path, text.split("```toml\n")[1].split("```")[0]))
    assert [issuer.tenant_claim for issuer in trust.issuers] == ["org"]
    assert [rule.kind for rule in trust.rules] == ["service", "user"]
    assert [entry.crl for entry in trust.revocations] == ["clients.crl"]
