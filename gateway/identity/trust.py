"""The trust file: whose tokens we believe and whom certificates name, as a security team writes it (TOML)."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from gateway.identity.claims import ClaimRules
from gateway.identity.mtls import CertificateRule, RuleError
from gateway.identity.signatures import ALGORITHMS


class TrustError(Exception):
    """The trust file cannot be used. The text names the file, the entry, what came and what was expected."""


class IssuerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[issuer]]``: the fields of ``ClaimRules``, and where its keys are ("": where the issuer itself says)."""

    issuer: str
    audiences: tuple[str, ...]
    jwks: str = ""
    ca: str = ""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256", "EdDSA")
    subject_claim: str = "sub"
    tenant: str = ""
    tenant_claim: str = "tenant"
    groups_claim: str = "groups"
    service_claim: str = ""
    service_value: str = ""
    claims: tuple[str, ...] = ()
    max_age_s: int = 86_400
    leeway_s: int = 30
    refresh_s: int = 300
    grace_s: int = 86_400

    def rules(self) -> ClaimRules:
        """What this issuer's tokens must say."""
        return ClaimRules(
            issuer=self.issuer,
            audiences=frozenset(self.audiences),
            subject_claim=self.subject_claim,
            tenant=self.tenant,
            tenant_claim=self.tenant_claim,
            groups_claim=self.groups_claim,
            service_claim=self.service_claim,
            service_value=self.service_value,
            kept=frozenset(self.claims),
            max_age_s=self.max_age_s,
            leeway_s=self.leeway_s,
        )

    def defect(self) -> str:
        """Why this entry cannot be used; "" when it can."""
        if not self.issuer or not self.audiences or not all(self.audiences):
            return "issuer and at least one audience must be given: without them any token of anybody would do"
        if unknown := [a for a in self.algorithms if a not in ALGORITHMS] or (not self.algorithms and ["none"]):
            return f"algorithms: {', '.join(unknown)} not accepted; known are {', '.join(ALGORITHMS)}"
        where = self.jwks or self.issuer
        if where.startswith("http:") and not re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]", where):
            return f"jwks: {where} must be https, or anybody on the way could give other keys"
        if not self.jwks and not self.issuer.startswith(("https:", "http:")):
            return "jwks: a URL or a file; only an issuer that is an https URL can be asked where its keys are"
        if bool(self.service_claim) != bool(self.service_value):
            return "service_claim and service_value go together"
        if min(self.max_age_s, self.refresh_s, self.grace_s) < 1 or not 0 <= self.leeway_s <= 300:
            return "max_age_s, refresh_s and grace_s must be positive, leeway_s between 0 and 300"
        return ""


class CertificateEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[certificate]]``: the fields of ``CertificateRule``."""

    id: str
    tenant: str
    uri: str = ""
    subject: dict[str, str] = {}
    groups: tuple[str, ...] = ()
    kind: Literal["user", "service"] = "service"

    def rule(self) -> CertificateRule:
        """The rule, checked. Raises: RuleError."""
        rule = CertificateRule(
            id=self.id,
            tenant=self.tenant,
            uri=self.uri,
            subject=self.subject,
            groups=self.groups,
            kind=self.kind,
        )
        rule.check()
        return rule


class RevocationEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[revocation]]``: a file with a revocation list (PEM or DER), and one with the authority that signed it."""

    crl: str
    ca: str


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    issuer: tuple[IssuerEntry, ...] = ()
    certificate: tuple[CertificateEntry, ...] = ()
    revocation: tuple[RevocationEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Trust:
    """What a trust file says. No rules means that certificates prove nobody, no issuers that tokens do not."""

    issuers: tuple[IssuerEntry, ...] = ()
    rules: tuple[CertificateRule, ...] = ()
    revocations: tuple[RevocationEntry, ...] = ()

    def files(self, folder: Path) -> list[Path]:
        """Every file that it names, as seen from the trust file's ``folder``."""
        named = [issuer.ca for issuer in self.issuers]
        named += [issuer.jwks for issuer in self.issuers if not issuer.jwks.startswith(("https:", "http:"))]
        named += [name for entry in self.revocations for name in (entry.crl, entry.ca)]
        return [folder / name for name in named if name]


def read_trust(path: Path) -> Trust:
    """The trust in the file at ``path``. Raises: TrustError."""
    try:
        document = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _Document)
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise TrustError(f"{path}: {error}{_nearest(str(error))}") from error
    except (ValueError, RecursionError) as error:
        raise TrustError(f"{path}: not TOML: {error}") from error
    seen: set[str] = set()
    for n, issuer in enumerate(document.issuer):
        if defect := issuer.defect():
            raise TrustError(f"{path}: issuer[{n}] ({issuer.issuer!r}): {defect}")
        if issuer.issuer in seen:
            raise TrustError(f"{path}: issuer[{n}]: {issuer.issuer!r} stands twice; one entry for each issuer")
        seen.add(issuer.issuer)
    try:
        rules = tuple(entry.rule() for entry in document.certificate)
    except RuleError as error:
        raise TrustError(f"{path}: {error}") from error
    return Trust(document.issuer, rules, document.revocation)


def _nearest(text: str) -> str:
    """The known field that an unknown one is probably meant to be."""
    unknown = re.search(r"unknown field `([^`]*)`", text)
    entries = (_Document, IssuerEntry, CertificateEntry, RevocationEntry)
    known = [name for entry in entries for name in entry.__struct_fields__]
    close = difflib.get_close_matches(unknown[1], known, n=1) if unknown else []
    return f"; the nearest known one is `{close[0]}`" if close else ""
