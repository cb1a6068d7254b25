"""Break-glass: signed grants by which named people pass named denials for a few hours, with everybody watching.

A grant is a file of one or more JSON Web Tokens (one a line, one a signer) over the same claims. The gateway evaluates
it, not Rego: a policy can neither give nor take emergency access. What a grant serves stays a denial in the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import jwt
import msgspec

from gateway.malformed import MALFORMED
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.modes import FIXED, Grant
from gateway.policy.signing import SigningKey

MAX_S = 24 * 3600
SUFFIX = ".jwt"
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a grant says. ``sub`` of ``tenant`` may do ``action`` (``inference:infer``) on ``model`` ("*" for any) in
    spite of the denials ``reasons``; ``iat`` and ``exp`` are seconds since 1970, at most a day apart."""

    jti: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{8,64}$")]
    scope: Literal["break-glass"]
    sub: Text
    tenant: Text
    action: Annotated[str, msgspec.Meta(pattern=r"^[a-z-]+:[a-z_]+$")]
    model: Text
    reasons: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=32)]
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    iat: Annotated[int, msgspec.Meta(ge=0)]
    exp: Annotated[int, msgspec.Meta(ge=0)]

    def __post_init__(self) -> None:
        if fixed := FIXED.intersection(self.reasons):
            raise ValueError(f"{', '.join(sorted(fixed))}: the gateway's own denials cannot be passed")
        if not 0 < self.exp - self.iat <= MAX_S:
            raise ValueError(f"a grant lasts at most {MAX_S // 3600} hours, this one {self.exp - self.iat} seconds")


class Signers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may sign grants, and how many of them each needs."""

    keys: Annotated[tuple[SigningKey, ...], msgspec.Meta(min_length=1)]
    signatures: Annotated[int, msgspec.Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        if len({key.keyid for key in self.keys} - {""}) < max(self.signatures, len(self.keys)):
            raise ValueError(f"{self.signatures} signatures need as many keys, each with a keyid of its own")


def read_signers(path: Path) -> Signers:
    """The signers in a JSON file: ``{"signatures": 2, "keys": [{"keyid", "algorithm", "public_pem"}]}``.

    Raises: PolicyInvalid naming the file and what does not fit.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Signers)
    except (OSError, *MALFORMED) as error:
        raise PolicyInvalid([Finding(str(path), 0, 0, "break-glass", str(error))]) from error


def sign(claims: Claims, *, private_pem: str, keyid: str, algorithm: str) -> str:
    """One line of a grant. Raises: ValueError for a key that does not fit the algorithm."""
    try:
        return jwt.encode(msgspec.to_builtins(claims), private_pem, algorithm, headers={"kid": keyid})
    except (jwt.PyJWTError, TypeError) as error:
        raise ValueError(f"the key cannot sign with {algorithm}: {error}") from error


def claimed(text: str) -> Claims:
    """What the first line of a grant claims, believed by nobody. Raises: ValueError."""
    try:
        token = text.split()[0]
        return msgspec.convert(jwt.decode(token, options={"verify_signature": False, "verify_exp": False}), Claims)
    except (IndexError, jwt.PyJWTError, *MALFORMED) as error:
        raise ValueError(f"this is no grant: {error}") from error


def verify(text: str, signers: Signers) -> Grant:
    """The grant in ``text``, signed by enough different keys over the same claims. Its time is not looked at here.

    Raises: ValueError that says what does not hold.
    """
    keys = {key.keyid: key for key in signers.keys}
    found: dict[str, Claims] = {}
    for token in text.split():
        key, claims = _verified(token, keys)
        found[key.keyid] = claims
    if len(found) < signers.signatures:
        raise ValueError(f"{len(found)} different signatures, {signers.signatures} are needed")
    first, *others = found.values()
    if any(other != first for other in others):
        raise ValueError("its signatures are over different claims")
    return Grant(
        id=first.jti,
        subject=first.sub,
        tenant=first.tenant,
        action=first.action,
        model="" if first.model == "*" else first.model,
        reasons=frozenset(first.reasons),
        why=first.why,
        from_us=first.iat * 1_000_000,
        until_us=first.exp * 1_000_000,
        signers=tuple(sorted(found)),
    )


def read_grants(folder: Path, signers: Signers) -> tuple[tuple[Grant, ...], Mapping[str, str]]:
    """The grants in ``folder``, and why files in it are none."""
    grants, refused = [], {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            grant = verify(path.read_text(), signers)
            if path.stem != grant.id:
                raise ValueError(f"it is called {path.stem} and holds {grant.id}")  # one grant, one file
            grants.append(grant)
        except FileNotFoundError:
            continue  # revoked while we looked
        except (OSError, ValueError) as error:
            refused[path.name] = str(error)
    return tuple(grants), refused


def _verified(token: str, keys: Mapping[str, SigningKey]) -> tuple[SigningKey, Claims]:
    """Key and claims of one token; the configured key selects the algorithm. Raises: ValueError."""
    try:
        keyid = jwt.get_unverified_header(token).get("kid", "")
        if keyid not in keys:
            raise ValueError(f"keyid {keyid!r} is none of {', '.join(sorted(keys))}")
        key = keys[keyid]
        said = jwt.decode(  # whoever uses a grant looks at its time, each time
            token,
            key.public_pem,
            algorithms=[key.algorithm],
            options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
        )
        return key, msgspec.convert(said, Claims)
    except (jwt.PyJWTError, UnicodeError, *MALFORMED) as error:
        raise ValueError(f"a signature does not hold: {error}") from error
