"""An issuer of tokens with real keys, over a clock that tests move."""

from __future__ import annotations

import json
from collections.abc import Mapping

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from gateway.identity.claims import ClaimRules
from gateway.identity.jwks import KeySet
from gateway.identity.jwt import Issuer, JwtTokens
from gateway.identity.signatures import KeySetError

NOW = 1_795_000_000
RULES = ClaimRules(issuer="https://idp.example", audiences=frozenset({"gateway"}), kept=frozenset({"dept"}))


class Clock:
    """Seconds since 1970 that a test moves."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Source:
    """A key set that changes, goes away and comes back; counts how often it was asked."""

    def __init__(self, *jwks: dict[str, object]) -> None:
        self.jwks = list(jwks)
        self.away = False
        self.asked = 0

    async def fetch(self) -> bytes:
        self.asked += 1
        if self.away:
            raise KeySetError("away")
        return json.dumps({"keys": self.jwks}).encode()


class Signer:
    """One private key of an issuer."""

    def __init__(self, alg: str, kid: str) -> None:
        makers = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
        }
        self.alg, self.kid, self.key = alg, kid, makers[alg]()

    @property
    def jwk(self) -> dict[str, object]:
        public = get_default_algorithms()[self.alg].to_jwk(self.key.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig"}

    def sign(self, claims: Mapping[str, object], **header: object) -> str:
        return jwt.encode(dict(claims), self.key, self.alg, headers={"kid": self.kid, **header})


def claims(**changes: object) -> dict[str, object]:
    """Good claims, changed; a change to None leaves the claim out."""
    good = {
        "iss": RULES.issuer,
        "aud": "gateway",
        "sub": "u1",
        "tenant": "risk",
        "groups": ["callers"],
        "iat": NOW - 10,
        "exp": NOW + 600,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


class World:
    """Tokens of one issuer as the gateway sees them."""

    def __init__(self, signer: Signer) -> None:
        self.clock = Clock()
        self.signer = signer
        self.source = Source(signer.jwk)
        self.keys = KeySet(self.source, self.clock)
        self.tokens = JwtTokens([Issuer(RULES, self.keys)], self.clock)
        self.claims = claims

    def token(self, **changes: object) -> str:
        return self.signer.sign(claims(**changes))


@pytest.fixture(scope="session")
def signers() -> dict[str, Signer]:
    return {alg: Signer(alg, f"kid-{alg}") for alg in ("ES256", "ES384", "EdDSA", "RS256")}


@pytest.fixture
def new_signer() -> type[Signer]:
    return Signer


@pytest.fixture
async def world(signers: dict[str, Signer]) -> World:
    return World(signers["ES256"])
