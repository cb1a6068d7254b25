"""Bearer tokens: a JSON Web Token in, the principal that its claims name out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.errors import Unauthenticated
from gateway.identity.claims import ClaimRules, Claims, check_audience, check_times, principal_of
from gateway.identity.signatures import (
    ALGORITHMS,
    BadToken,
    SigningKey,
    parse_header,
    unverified_payload,
    verified_payload,
)
from gateway.malformed import MALFORMED
from gateway.types import Principal


class Keys(Protocol):
    """The signing keys of one issuer."""

    generation: int

    @property
    def good_until_s(self) -> float: ...

    async def key(self, kid: str) -> SigningKey:
        """Raises: BadToken, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whom we believe, with which keys, signing how, about what."""

    rules: ClaimRules
    keys: Keys
    algorithms: frozenset[str] = frozenset({"RS256", "ES256", "PS256", "EdDSA"})


class _Verified(msgspec.Struct, frozen=True, gc=False):
    """A token that was verified: good below ``until_s`` as long as its issuer's keys are of ``generation``."""

    principal: Principal
    until_s: float
    issuer: Issuer
    generation: int


class JwtTokens:
    """Verifies bearer tokens of the configured issuers. One instance serves one event loop.

    A verified token is remembered by its hash until its time is up or its issuer's keys change, so that a token
    costs a signature once and two microseconds after. At most ``remembered`` are, the oldest go first; refusals
    never are.
    """

    def __init__(self, issuers: Sequence[Issuer], clock_s: Callable[[], float], *, remembered: int = 10_000) -> None:
        self._issuers = {issuer.rules.issuer: issuer for issuer in issuers}
        self._clock_s = clock_s
        self._most = remembered
        self._verified: dict[bytes, _Verified] = {}

    def known(self, token: str) -> Principal | None:
        """The principal that ``token`` names, if that was verified before and still holds. Raises: Unauthenticated."""
        return self._remembered(_name(token))

    async def prove(self, token: str) -> Principal:
        """The principal that ``token`` names. Awaits only when the issuer's keys have to be fetched.

        Raises: Unauthenticated, whose cause says which check failed; Unavailable when there are no keys to check
        with.
        """
        name = _name(token)
        known = self._remembered(name)
        if known is not None:
            return known
        try:
            verified = await self._verify(token)
        except BadToken as error:
            raise Unauthenticated(str(error)) from None
        if len(self._verified) >= self._most:
            del self._verified[next(iter(self._verified))]
        self._verified[name] = verified
        return verified.principal

    def _remembered(self, name: bytes) -> Principal | None:
        known = self._verified.get(name)
        if known is None:
            return None
        keys, now = known.issuer.keys, self._clock_s()
        if now < known.until_s and now < keys.good_until_s and known.generation == keys.generation:
            return known.principal
        del self._verified[name]
        return None

    async def _verify(self, token: str) -> _Verified:
        header = parse_header(token)
        issuer = self._issuer(unverified_payload(token))
        if header.alg not in issuer.algorithms or header.alg not in ALGORITHMS:
            raise BadToken("jwt_algorithm")
        key = await issuer.keys.key(header.kid)
        generation = issuer.keys.generation
        claims = _claims(verified_payload(token, header.alg, key))
        check_audience(claims, issuer.rules)
        validity = check_times(claims, issuer.rules, self._clock_s())
        principal = principal_of(claims, issuer.rules, key.kid, validity.issued_s)
        return _Verified(principal, validity.until_s, issuer, generation)

    def _issuer(self, payload: bytes) -> Issuer:
        name = _claims(payload).get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise BadToken("jwt_issuer")
        return issuer


def _name(token: str) -> bytes:
    """Under which a token is remembered: secrets are not kept. Raises: Unauthenticated."""
    if not token.isascii():
        raise Unauthenticated("jwt_malformed")
    return hashlib.sha256(token.encode("ascii")).digest()


def _claims(payload: bytes) -> Claims:
    try:
        claims: Claims = msgspec.json.decode(payload, type=dict[str, object])
    except MALFORMED:
        raise BadToken("jwt_malformed") from None
    return claims
