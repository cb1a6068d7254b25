"""What a verified token's claims say: the rules of one issuer, and the principal they make. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gateway.identity.names import group_defect, name_defect
from gateway.identity.signatures import BadToken
from gateway.types import Principal

Claims: TypeAlias = Mapping[str, object]

MAX_GROUPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """What tokens of one issuer must say, and which claims name the caller. Times in seconds.

    ``audiences``: one of them must be the token's. ``tenant`` is for issuers of a single tenant; without it
    ``tenant_claim`` names it. A claim's name may be a path (``realm_access.roles``). ``kept`` claims, and no
    others, reach the policy. Tokens live no longer than ``max_age_s`` after they were issued, whatever their ``exp``.
    """

    issuer: str
    audiences: frozenset[str]
    subject_claim: str = "sub"
    tenant: str = ""
    tenant_claim: str = "tenant"
    groups_claim: str = "groups"
    service_claim: str = ""
    service_value: str = ""
    kept: frozenset[str] = field(default_factory=frozenset)
    max_age_s: int = 86_400
    leeway_s: int = 30


@dataclass(frozen=True, slots=True)
class Validity:
    """A token's times, checked; good while the clock is below ``until_s``."""

    issued_s: int
    until_s: float


def check_times(claims: Claims, rules: ClaimRules, now_s: float) -> Validity:
    """Raises: BadToken naming which time is wrong. ``exp`` and ``iat`` are required, ``nbf`` is not."""
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    until = min(expires, issued + rules.max_age_s) + rules.leeway_s
    if issued > now_s + rules.leeway_s:
        raise BadToken("jwt_issued_in_future")
    if "nbf" in claims and _time(claims, "nbf") > now_s + rules.leeway_s:
        raise BadToken("jwt_not_yet_valid")
    if now_s >= expires + rules.leeway_s:
        raise BadToken("jwt_expired")
    if now_s >= until:
        raise BadToken("jwt_too_old")
    return Validity(int(issued), until)


def check_audience(claims: Claims, rules: ClaimRules) -> None:
    """Raises: BadToken unless issuer and audience are the ones we are configured with."""
    if claims.get("iss") != rules.issuer:
        raise BadToken("jwt_issuer")
    found = claims.get("aud")
    names = [found] if isinstance(found, str) else found
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadToken("jwt_audience_missing")
    if rules.audiences.isdisjoint(names):
        raise BadToken("jwt_audience")


def principal_of(claims: Claims, rules: ClaimRules, kid: str, issued_s: int) -> Principal:
    """Whom the claims name. Raises: BadToken where a name is missing or cannot be one."""
    subject = _lookup(claims, rules.subject_claim)
    tenant = rules.tenant or _lookup(claims, rules.tenant_claim)
    if not isinstance(subject, str) or name_defect(subject):
        raise BadToken("jwt_subject")
    if not isinstance(tenant, str) or name_defect(tenant):
        raise BadToken("jwt_tenant")
    service = bool(rules.service_claim) and _lookup(claims, rules.service_claim) == rules.service_value
    kind: Literal["service", "user"] = "service" if service else "user"
    # "auth_time" is when the person proved who they are; a token may have been issued anew since.
    fresh = int(_time(claims, "auth_time")) if "auth_time" in claims else issued_s
    return Principal(
        id=subject,
        kind=kind,
        tenant=tenant,
        groups=_groups(_lookup(claims, rules.groups_claim)),
        auth="jwt",
        credential=kid,
        issuer=rules.issuer,
        spiffe_id=subject if subject.startswith("spiffe://") else "",
        authenticated_s=min(fresh, issued_s),
        claims={name: claims[name] for name in sorted(rules.kept & claims.keys())},
    )


def _groups(found: object) -> tuple[str, ...]:
    """A list of names, or a string of them with spaces between; absent is none."""
    if found is None:
        return ()
    names: Sequence[object] = found.split() if isinstance(found, str) else found if isinstance(found, list) else [None]
    # One bad group spoils the token: a policy may deny by group, so leaving it out could widen rights.
    if len(names) > MAX_GROUPS:
        raise BadToken("jwt_groups")
    groups = []
    for name in names:
        if not isinstance(name, str) or group_defect(name):
            raise BadToken("jwt_groups")
        groups.append(name)
    return tuple(dict.fromkeys(groups))


def _lookup(claims: Claims, path: str) -> object:
    """The value at ``path``. A claim whose whole name it is comes first: names may be URLs with dots."""
    if path in claims:
        return claims[path]
    value: object = claims
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def _time(claims: Claims, name: str) -> float:
    value = claims.get(name)
    if value is None:
        raise BadToken(f"jwt_claim_missing: {name}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadToken(f"jwt_claim_malformed: {name}")
    if not 0 <= value < 2**40:
        raise BadToken(f"jwt_claim_malformed: {name}")
    return float(value)
