"""Client certificates: one that the TLS layer has verified in, the principal that the rules make of it out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Literal

import msgspec
from cryptography import x509

from gateway.errors import Unauthenticated
from gateway.identity.names import group_defect, name_defect
from gateway.identity.revocation import Revocations
from gateway.types import Principal

# SPIFFE-ID: a lower-case trust domain, then non-empty path segments of a few characters.
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*")


class RuleError(ValueError):
    """A rule that cannot work. The text names the rule and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRule:
    """Whom certificates of one shape name.

    ``uri`` is a regular expression for the whole URI SAN; ``subject`` one for each named attribute of the subject
    (``CN``, ``O``, ``OU``, ...), which the subject must have exactly once. All that are given must match. ``id``,
    ``tenant`` and ``groups`` are templates over the expressions' named groups: ``{ns}`` is what ``(?P<ns>...)`` took.
    """

    id: str
    tenant: str
    uri: str = ""
    subject: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    kind: Literal["user", "service"] = "service"

    def check(self) -> None:
        """Raises: RuleError for a rule that matches everything, a bad expression, or a template without its group."""
        if not self.uri and not self.subject:
            raise RuleError(f"certificate rule for id {self.id!r}: needs uri or subject, or it would match all")
        names: set[str] = set()
        for pattern in (self.uri, *self.subject.values()):
            try:
                names |= re.compile(pattern).groupindex.keys()
            except re.error as error:
                raise RuleError(f"certificate rule for id {self.id!r}: {pattern!r}: {error}") from error
        for template in (self.id, self.tenant, *self.groups):
            for name in _placeholders(template):
                if name not in names:
                    raise RuleError(
                        f"certificate rule: template {template!r} uses {{{name}}}, "
                        f"the expressions have {', '.join(sorted(names)) or 'no named group'}"
                    )

    def match(self, uri: str, subject: Mapping[str, str]) -> dict[str, str] | None:
        """What the expressions' groups took, None when the rule is not for this certificate."""
        taken: dict[str, str] = {}
        wanted = [(self.uri, uri)] if self.uri else []
        wanted += [(pattern, subject.get(name, "")) for name, pattern in self.subject.items()]
        for pattern, text in wanted:
            found = re.fullmatch(pattern, text) if text else None
            if found is None:
                return None
            taken.update({name: value or "" for name, value in found.groupdict().items()})
        return taken


class _Known(msgspec.Struct, frozen=True, gc=False):
    """What one certificate proves, and from when to when."""

    principal: Principal
    from_s: float
    until_s: float  # the sooner of its own end and the end of its authority's list
    listed_until_s: float


class ClientCertificates:
    """Maps verified certificates by the first rule that matches. For the event loop's thread.

    The chain was verified in the handshake, but a connection can outlive its certificate: validity is checked at
    every call, and that its authority has not taken it back (``revocations``; new lists are a new object). A
    certificate is parsed once and remembered by its bytes, ``remembered`` of them at most; the bytes object of a
    connection keeps its hash, so a call costs a dict lookup and two comparisons.
    """

    def __init__(
        self,
        rules: Sequence[CertificateRule],
        clock_s: Callable[[], float],
        *,
        revocations: Revocations | None = None,
        remembered: int = 4096,
    ) -> None:
        self._revocations = revocations or Revocations()
        self._rules = rules
        self._clock_s = clock_s
        self._most = remembered
        self._known: dict[bytes, _Known] = {}

    def prove(self, certificate: bytes) -> Principal:
        """The principal that ``certificate`` (DER) names. Raises: Unauthenticated."""
        known = self._known.get(certificate)
        if known is None:
            known = self._read(certificate)
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[certificate] = known
        now = self._clock_s()
        if now < known.from_s:
            raise Unauthenticated(f"certificate_not_yet_valid: {known.principal.credential}")
        if now > known.until_s:
            kind = "revocations_outdated" if now > known.listed_until_s else "expired"
            raise Unauthenticated(f"certificate_{kind}: {known.principal.credential}")
        return known.principal

    def _read(self, der: bytes) -> _Known:
        try:
            certificate = x509.load_der_x509_certificate(der)
            uris, is_ca = _extensions(certificate)
            subject = _subject(certificate)
            not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        except (ValueError, x509.DuplicateExtension):
            raise Unauthenticated("certificate_malformed") from None
        if is_ca:
            raise Unauthenticated("certificate_of_an_authority")  # it signs for others; it speaks for nobody
        if len(uris) > 1:
            raise Unauthenticated("certificate_with_several_uris")  # X.509-SVID: exactly one, or it is ambiguous
        uri = uris[0] if uris else ""
        if uri.startswith("spiffe:") and (len(uri) > 2048 or not _SPIFFE.fullmatch(uri)):
            raise Unauthenticated("certificate_spiffe_id_malformed")
        fingerprint = hashlib.sha256(der).hexdigest()[:32]
        issued = int(not_before.timestamp())
        if self._revocations.revoked(certificate):
            raise Unauthenticated(f"certificate_revoked: {fingerprint}")
        principal = self._principal(uri, subject, fingerprint, issued, certificate.issuer.rfc4514_string())
        listed_s = self._revocations.until_s(certificate)
        return _Known(principal, float(issued), min(not_after.timestamp(), listed_s), listed_s)

    def _principal(
        self, uri: str, subject: Mapping[str, str], fingerprint: str, issued_s: int, issuer: str
    ) -> Principal:
        for rule in self._rules:
            taken = rule.match(uri, subject)
            if taken is None:
                continue
            name, tenant = rule.id.format_map(taken), rule.tenant.format_map(taken)
            groups = tuple(group.format_map(taken) for group in rule.groups)
            if name_defect(name) or name_defect(tenant) or any(group_defect(group) for group in groups):
                raise Unauthenticated(f"certificate_name_unusable: {fingerprint}")
            return Principal(
                id=name,
                kind=rule.kind,
                tenant=tenant,
                groups=groups,
                auth="mtls",
                credential=fingerprint,
                issuer=issuer,
                spiffe_id=uri if uri.startswith("spiffe://") else "",
                authenticated_s=issued_s,
            )
        raise Unauthenticated(f"certificate_not_mapped: {fingerprint}")


def _extensions(certificate: x509.Certificate) -> tuple[list[str], bool]:
    """The URI SANs, and whether the certificate is an authority's."""
    uris: list[str] = []
    is_ca = False
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            uris = value.get_values_for_type(x509.UniformResourceIdentifier)
        elif isinstance(value, x509.BasicConstraints):
            is_ca = value.ca
    return uris, is_ca


def _subject(certificate: x509.Certificate) -> dict[str, str]:
    """The subject's attributes by short name. One that occurs twice is left out: which of them would count?"""
    found: dict[str, list[str]] = {}
    for attribute in certificate.subject:
        if isinstance(attribute.value, str):
            found.setdefault(attribute.rfc4514_attribute_name, []).append(attribute.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _placeholders(template: str) -> list[str]:
    """The names in braces. Raises: RuleError for anything but plain names in them."""
    try:
        fields = [
            (name, extra or "", how or "") for _, name, extra, how in Formatter().parse(template) if name is not None
        ]
    except ValueError as error:
        raise RuleError(f"certificate rule: template {template!r}: {error}") from error
    for name, *rest in fields:
        if not name.isidentifier() or any(rest):
            raise RuleError(f"certificate rule: template {template!r}: expected {{NAME}} of a named group")
    return [name for name, *_ in fields]
