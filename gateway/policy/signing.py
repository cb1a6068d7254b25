"""Verifies ``.signatures.json`` of an OPA bundle. Nothing is believed because the token says so.

The configured key id selects key *and* algorithm; the token's own ``alg`` is only compared with it, so ``none`` and an
HMAC made with a public key are impossible. The signed list of files must be exactly the bundle's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import jwt
import msgspec

from gateway.malformed import MALFORMED
from gateway.policy.files import parse_json
from gateway.policy.findings import Finding, PolicyInvalid

FILE = ".signatures.json"
Algorithm: TypeAlias = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key (PEM) that may sign bundles, under its id, for one algorithm."""

    keyid: str
    algorithm: Algorithm
    public_pem: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Who may sign: at least one key (two while one is replaced by the next), and the scope they sign for."""

    keys: tuple[SigningKey, ...]
    scope: str = ""

    def __post_init__(self) -> None:
        if not self.keys or any(not key.keyid for key in self.keys):
            raise ValueError("signed bundles need a key with a keyid: without one, anybody's key would do")

    @property
    def keyids(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(key.keyid for key in self.keys)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    hash: str
    algorithm: Literal["SHA-256"]


class _Payload(msgspec.Struct, frozen=True):
    files: tuple[_File, ...]
    keyid: str = ""
    scope: str = ""


class _Signatures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signatures: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1)]
    plugin: Literal["", "_default"] = ""  # OPA's word for how it was signed


def verify(found: Mapping[str, bytes], trust: Trust) -> str:
    """Hold every file of a bundle against its signature; the id of the key that signed it.

    Raises: PolicyInvalid naming the file and the cause.
    """
    if FILE not in found:
        raise _refused(FILE, "the bundle is not signed, and it must be")
    try:
        (token,) = msgspec.json.decode(found[FILE], type=_Signatures).signatures
        key = _key(token, trust)
        claims = jwt.decode(
            token, key.public_pem, algorithms=[key.algorithm], options={"verify_aud": False, "verify_iss": False}
        )
        payload = msgspec.convert(claims, _Payload)
    except (jwt.PyJWTError, ValueError, *MALFORMED) as error:
        raise _refused(FILE, f"the signature does not hold: {error}") from error
    if payload.scope != trust.scope:
        raise _refused(FILE, f"signed for scope {payload.scope!r}, expected {trust.scope!r}")
    if payload.keyid and payload.keyid != key.keyid:
        raise _refused(FILE, f"signed with key id {payload.keyid!r}, expected {key.keyid!r}")
    _compare(found, payload)
    return key.keyid


def _key(token: str, trust: Trust) -> SigningKey:
    """The configured key that the token names, in its header or, as OPA does, in its payload.

    The name is a hint among keys that we trust, nothing more. A single key needs none. Raises: ValueError.
    """
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    name = header.get("kid") or claims.get("keyid")
    fitting = [key for key in trust.keys if name == key.keyid or (not name and len(trust.keys) == 1)]
    if not fitting:
        known = ", ".join(key.keyid for key in trust.keys)
        raise ValueError(f"key id {name!r} is not one of ours ({known})")
    if header.get("alg") != fitting[0].algorithm:
        raise ValueError(f"algorithm {header.get('alg')!r}, key {fitting[0].keyid} signs with {fitting[0].algorithm}")
    return fitting[0]


def _compare(found: Mapping[str, bytes], payload: _Payload) -> None:
    signed = {file.name.removeprefix("/"): file.hash for file in payload.files}
    if len(signed) != len(payload.files):
        raise _refused(FILE, "a file is signed twice")
    present = found.keys() - {FILE}
    for name in sorted(present - signed.keys()):
        raise _refused(name, "in the bundle, but not in its signature")
    for name in sorted(signed.keys() - present):
        raise _refused(name, "in the signature, but not in the bundle")
    for name, expected in sorted(signed.items()):
        actual = hashlib.sha256(hashed_bytes(name, found[name])).hexdigest()
        if actual != expected:
            raise _refused(name, f"digest mismatch: it is {actual}, signed is {expected}")


def hashed_bytes(name: str, content: bytes) -> bytes:
    """What OPA hashes: structured files as canonical JSON with number literals as written, others as they are.

    Raises: PolicyInvalid for JSON that is none.
    """
    if not name.endswith(("data.json", ".manifest")):
        return content
    try:
        parse_json(content)
        value = json.loads(content, parse_int=_Literal, parse_float=_Literal)
    except (ValueError, RecursionError) as error:
        raise _refused(name, f"no JSON: {error}") from error
    return canonical(value).encode()


class _Literal(str):
    """A number as it was written."""

    __slots__ = ()


def canonical(value: object) -> str:
    """JSON as OPA's signer writes it: keys sorted, no spaces, raw UTF-8, only U+2028 and U+2029 escaped."""
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(k)}:{canonical(value[k])}" for k in sorted(value, key=str.encode)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _refused(name: str, text: str) -> PolicyInvalid:
    return PolicyInvalid([Finding(name, 0, 0, "signature", text)])


class _StatedTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[SigningKey, ...]
    scope: str = ""


def read_trust(path: Path) -> Trust:
    """Who may sign, from a JSON file: ``{"scope": "authz", "keys": [{"keyid", "algorithm", "public_pem"}]}``.

    Raises: PolicyInvalid naming the file and what does not fit.
    """
    try:
        stated = msgspec.json.decode(path.read_bytes(), type=_StatedTrust)
        return Trust(stated.keys, stated.scope)
    except (OSError, ValueError, *MALFORMED) as error:
        raise PolicyInvalid([Finding(str(path), 0, 0, "signers", str(error))]) from error
