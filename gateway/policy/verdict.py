"""The decision document, schema version 1: reads what an engine answered, and believes nothing else.

Rule: the only ``allow`` that counts is one in a document that decodes completely, has no denying reason and whose
obligations are known, valid and free of conflict. Everything else is a denial with its own code.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

import msgspec

from gateway.errors import PermissionDenied
from gateway.malformed import MALFORMED
from gateway.policy.obligations import AnyObligation, merge
from gateway.types import Obligation, Reason

MAX_BYTES = 64 * 1024
UNDEFINED = b'"<undefined>"'

Code: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{1,61}[a-z0-9]$")]


class StatedReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reason as the document states it."""

    code: Code
    severity: Literal["deny", "warn"] = "deny"
    msg: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    params: dict[str, msgspec.Raw] = {}


class DecisionDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy's ``decision`` must be. Unknown advice is ignored; unknown anything else denies."""

    v: Literal[1]
    allow: bool
    reasons: Annotated[tuple[StatedReason, ...], msgspec.Meta(max_length=64)]
    obligations: Annotated[tuple[AnyObligation, ...], msgspec.Meta(max_length=32)]
    advice: Annotated[tuple[dict[str, msgspec.Raw], ...], msgspec.Meta(max_length=64)] = ()
    ttl_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 5
    policy_version: Annotated[str, msgspec.Meta(max_length=256)] = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one evaluation came to, engine and query aside. ``kind`` labels what went wrong, "" when nothing did."""

    allow: bool
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    ttl_s: int = 5
    policy_version: str = ""
    kind: Literal["", "undefined", "evaluation", "invalid", "panic"] = ""


_decoder = msgspec.json.Decoder(DecisionDocument)
_UNKNOWN_TYPE = re.compile(r"Invalid value '.*' - at `\$\.obligations\[\d+\]\.type`", re.DOTALL)


def denial(code: str, detail: str, kind: Literal["", "undefined", "evaluation", "invalid", "panic"]) -> Verdict:
    """A denial that the gateway itself states; ``detail`` is for the record and the log."""
    return Verdict(allow=False, reasons=(Reason(code, "deny", detail[:4096]),), kind=kind)


def undefined() -> Verdict:
    """The engine has no decision."""
    return denial("policy_undefined", "data.gateway.authz.decision is undefined", "undefined")


def failed(error: BaseException) -> Verdict:
    """The evaluation raised; a backtrace is cut off."""
    panicked = not isinstance(error, Exception)
    text = str(error).split("\n\nStack backtrace", 1)[0]
    return denial("policy_error", text, "panic" if panicked else "evaluation")


def read(raw: bytes) -> Verdict:
    """The verdict in an engine's answer, whatever that answer is. Never raises."""
    if raw == UNDEFINED:
        return undefined()
    if len(raw) > MAX_BYTES:
        return denial("invalid_decision", f"{len(raw)} bytes, at most {MAX_BYTES}", "invalid")
    try:
        return _verdict(_decoder.decode(raw))
    except MALFORMED as error:
        code = "unknown_obligation" if _UNKNOWN_TYPE.match(str(error)) else "invalid_decision"
        return denial(code, str(error), "invalid")


def _verdict(document: DecisionDocument) -> Verdict:
    reasons = tuple(_reason(r) for r in document.reasons)
    denying = any(r.severity == "deny" for r in reasons)
    if document.allow and denying:
        codes = ", ".join(r.code for r in reasons if r.severity == "deny")
        return denial("contradictory_decision", f"allow with denying reasons: {codes}", "invalid")
    try:
        merge(document.obligations)
    except PermissionDenied as error:
        return denial(error.codes[0], str(error), "invalid")
    return Verdict(
        allow=document.allow,
        reasons=reasons,
        obligations=tuple(document.obligations),
        ttl_s=document.ttl_s,
        policy_version=document.policy_version,
    )


def _reason(stated: StatedReason) -> Reason:
    params = {key: msgspec.json.decode(value) for key, value in stated.params.items()}
    return Reason(stated.code, stated.severity, stated.msg, params)
