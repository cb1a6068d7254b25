"""Signing keys and signatures of JSON Web Tokens. The only file that knows PyJWT."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import jwt
import msgspec
from jwt.api_jws import PyJWS

from gateway.malformed import MALFORMED

# Rule: only signatures by a private key. With "none" or HMAC, who can verify could also sign.
ALGORITHMS: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Key type and curve that each algorithm we may be configured with needs."""

_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
MAX_TOKEN_BYTES = 16 * 1024
MAX_KEYS = 100


class KeySetError(Exception):
    """A key set that cannot be used. The text says why; it holds no key."""


class BadToken(Exception):
    """Why a token is not believed: a stable word for the log, never a part of the token."""


class Header(msgspec.Struct, frozen=True):
    """What a token's header says; nothing in it is believed beyond picking among our own keys.

    Embedded or linked keys (``jwk``, ``jku``, ``x5c``, ``x5u``) are not read at all.
    """

    alg: str
    kid: str = ""
    typ: str = ""
    crit: object = None
    b64: object = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key of an issuer, with what it may be used for."""

    kid: str
    kind: tuple[str, str]
    alg: str
    key: jwt.PyJWK

    def fits(self, alg: str) -> bool:
        """Whether a signature made with ``alg`` can come from this key."""
        return ALGORITHMS[alg] == self.kind and self.alg in ("", alg)


def parse_key_set(data: bytes) -> dict[str, SigningKey]:
    """The usable signing keys of a JWK Set (RFC 7517), by ``kid``.

    Keys for other uses, of other types, or too weak are left out. A key without ``kid`` is called "".
    Raises: KeySetError for what is no key set, holds no usable key, or names two keys alike.
    """
    try:
        document = msgspec.json.decode(data)
    except MALFORMED as error:
        raise KeySetError(f"not JSON: {error}") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError('not a JWK Set: expected {"keys": [...]}')
    if len(entries) > MAX_KEYS:
        raise KeySetError(f"{len(entries)} keys, at most {MAX_KEYS} are read")
    keys: dict[str, SigningKey] = {}
    for entry in entries:
        key = _signing_key(entry)
        if key is None:
            continue
        if key.kid in keys:
            raise KeySetError(f"two signing keys have the kid {key.kid!r}")
        keys[key.kid] = key
    if not keys:
        raise KeySetError("no usable signing key: expected RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519")
    return keys


def _signing_key(entry: object) -> SigningKey | None:
    if not isinstance(entry, dict) or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    kid, alg = entry.get("kid", ""), entry.get("alg", "")
    kind = (str(entry.get("kty")), str(entry.get("crv", "")))
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(kid, str) or len(kid) > 256 or kind not in ALGORITHMS.values() or (alg and alg not in ALGORITHMS):
        return None
    name = alg or next(a for a, k in ALGORITHMS.items() if k == kind)
    try:
        key = jwt.PyJWK(entry, name)
        if key.Algorithm.check_key_length(key.key):
            return None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return SigningKey(kid, kind, alg, key)


def parse_header(token: str) -> Header:
    """The header of ``token``, checked as far as it can be without a key. Raises: BadToken."""
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2 or not token.isascii():
        raise BadToken("jwt_malformed")
    segment = token.partition(".")[0]
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        header = msgspec.json.decode(data, type=Header)
    except (ValueError, *MALFORMED):
        raise BadToken("jwt_malformed") from None
    if header.alg.lower() == "none":
        raise BadToken("jwt_algorithm_none")
    if header.crit is not None or header.b64 is not None:
        raise BadToken("jwt_critical_header")
    if header.typ.lower() not in _TYPES:
        raise BadToken("jwt_type")  # a signed object of another kind: a logout token, a DPoP proof
    return header


def unverified_payload(token: str) -> bytes:
    """The payload of ``token``, believed by nobody: good for finding out whose keys to ask. Raises: BadToken."""
    try:
        payload = PyJWS().decode_complete(token, options={"verify_signature": False})["payload"]
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise BadToken("jwt_malformed") from None
    return bytes(payload)


def verified_payload(token: str, alg: str, key: SigningKey) -> bytes:
    """The payload of ``token``, whose signature by ``key`` with ``alg`` is good. Raises: BadToken."""
    if not key.fits(alg):
        raise BadToken("jwt_key_unfit")
    try:
        payload = PyJWS().decode_complete(token, key.key.key, algorithms=[alg])["payload"]
    except jwt.InvalidSignatureError:
        raise BadToken("jwt_signature") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise BadToken("jwt_malformed") from None
    return bytes(payload)
