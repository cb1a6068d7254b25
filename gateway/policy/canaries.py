"""Canaries: inputs whose answer the authors state, decided by every revision before it may serve."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec

from gateway.malformed import MALFORMED
from gateway.policy import schema
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.input import Document, encode
from gateway.policy.obligations import kind
from gateway.policy.samples import ACTIONS, sample
from gateway.policy.verdict import Verdict

FILE = "canaries.json"


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stated case. ``input`` is laid over a complete sample of ``action`` (``group:name``); ``reasons`` are the
    codes of a denial and ``obligations`` the types of an allow, exactly."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    action: Annotated[str, msgspec.Meta(pattern=r"^[a-z-]+:[a-z_]+$")]
    allow: bool
    input: dict[str, object] = {}
    reasons: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()

    def document(self) -> Document:
        """The complete input document."""
        group, name = self.action.split(":")
        method = next((m for g, _, m in ACTIONS if g == group), "")
        return _laid_over(sample(group, name, method), self.input)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    canaries: tuple[Canary, ...]


def parse(raw: bytes) -> tuple[Canary, ...]:
    """The canaries of a bundle. Raises: PolicyInvalid for a file, or an input, that does not fit."""
    if not raw:
        return ()
    try:
        canaries = msgspec.json.decode(raw, type=_File).canaries
    except MALFORMED as error:
        raise PolicyInvalid([Finding(FILE, 0, 0, "canary", str(error))]) from error
    findings = []
    for canary in canaries:
        try:
            schema.check(encode(canary.document()))
        except (msgspec.ValidationError, TypeError) as error:
            findings.append(Finding(FILE, 0, 0, "canary", f"{canary.name}: the input does not fit: {error}"))
    if findings:
        raise PolicyInvalid(findings)
    return canaries


def failures(canaries: tuple[Canary, ...], ask: Callable[[bytes], Verdict], raw: bytes = b"") -> list[Finding]:
    """The canaries that ``ask`` answers differently from what they state, at their names' lines in ``raw``."""
    found = []
    for canary in canaries:
        wrong = mismatch(canary, ask(encode(canary.document())))
        if wrong:
            line = _line(raw, canary.name)
            found.append(Finding(FILE, line, min(line, 1), "canary", f"{canary.name}: {wrong}"))
    return found


def _line(raw: bytes, name: str) -> int:
    """The line that names a canary; 0 when it is written in another way."""
    text = raw.decode(errors="replace")
    found = re.search(r'"name"\s*:\s*' + re.escape(json.dumps(name, ensure_ascii=False)), text)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def mismatch(canary: Canary, verdict: Verdict) -> str:
    """What differs from the stated answer; "" when nothing does."""
    codes = sorted(reason.code for reason in verdict.reasons if reason.severity == "deny")
    types = sorted({kind(obligation) for obligation in verdict.obligations})
    if verdict.allow != canary.allow:
        said = "allowed" if verdict.allow else f"denied ({', '.join(codes)})"
        return f"expected {'an allow' if canary.allow else 'a denial'}, it is {said}"
    if not canary.allow and canary.reasons and sorted(canary.reasons) != codes:
        return f"expected reasons {sorted(canary.reasons)}, got {codes}"
    if canary.allow and sorted(canary.obligations) != types:
        return f"expected obligations {sorted(canary.obligations)}, got {types}"
    return ""


def _laid_over(base: Mapping[str, object], top: Mapping[str, object]) -> Document:
    merged: Document = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _laid_over(below, value)
        else:
            merged[key] = value
    return merged
