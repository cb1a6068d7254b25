"""The fail-closed table: whatever an engine answers, only a complete, consistent allow allows."""

from __future__ import annotations

import json

import pytest

from gateway.policy.verdict import failed, read

ALLOW = {"v": 1, "allow": True, "reasons": [], "obligations": []}


def doc(**changes: object) -> bytes:
    return json.dumps({**ALLOW, **changes}).encode()


def without(key: str) -> bytes:
    return json.dumps({k: v for k, v in ALLOW.items() if k != key}).encode()


def test_a_complete_allow_allows() -> None:
    verdict = read(doc(ttl_s=0, policy_version="x", advice=[{"type": "anything", "code": 1}]))
    assert verdict.allow is True
    assert (verdict.ttl_s, verdict.policy_version, verdict.kind) == (0, "x", "")


def test_a_warning_does_not_deny() -> None:
    verdict = read(doc(reasons=[{"code": "old_client", "severity": "warn", "params": {"n": 1}}]))
    assert verdict.allow is True
    assert verdict.reasons[0].params == {"n": 1}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'"<undefined>"', "policy_undefined"),
        (b"", "invalid_decision"),
        (b"null", "invalid_decision"),
        (b"true", "invalid_decision"),
        (b"[]", "invalid_decision"),
        (b"{}", "invalid_decision"),
        (b"{" * 100_000, "invalid_decision"),
        (b"[" * 60_000, "invalid_decision"),
        (b"\xff\xfe", "invalid_decision"),
        (
            doc(reasons=[{"code": "c", "severity": "warn", "params": {"n": "N"}}]).replace(b"N", b"\xff"),
            "invalid_decision",
        ),
        (doc(allow="true"), "invalid_decision"),
        (doc(allow=1), "invalid_decision"),
        (doc(allow=None), "invalid_decision"),
        (doc(v=2), "invalid_decision"),
        (doc(v=True), "invalid_decision"),
        (doc(v="1"), "invalid_decision"),
        (without("v"), "invalid_decision"),
        (without("allow"), "invalid_decision"),
        (without("reasons"), "invalid_decision"),
        (without("obligations"), "invalid_decision"),
        (doc(obligation=[]), "invalid_decision"),
        (doc(ttl_s=-1), "invalid_decision"),
        (doc(ttl_s=True), "invalid_decision"),
        (doc(reasons=[{"code": "x"}]), "invalid_decision"),
        (doc(reasons=[{"code": "Not-A-Code"}]), "invalid_decision"),
        (doc(reasons=[{"code": "good_code", "severity": "fatal"}]), "invalid_decision"),
        (doc(reasons=[{"code": "good_code", "message": "?"}]), "invalid_decision"),
        (doc(reasons=[{"code": f"code_{n}", "severity": "warn"} for n in range(65)]), "invalid_decision"),
        (doc(obligations=[{"type": "limit", "max_batch": n} for n in range(33)]), "invalid_decision"),
        (doc(obligations=[{"type": "limit", "max_btach": 1}]), "invalid_decision"),
        (doc(obligations=[{"type": "teleport"}]), "unknown_obligation"),
        (doc(obligations=[{"max_batch": 1}]), "invalid_decision"),
        (doc(reasons=[{"code": "no_way"}]), "contradictory_decision"),
        (doc(obligations=[{"type": "route", "version": v} for v in "12"]), "obligation_conflict"),
        (doc(policy_version="x" * 70_000), "invalid_decision"),
    ],
)
def test_everything_else_denies_with_its_own_code(raw: bytes, code: str) -> None:
    verdict = read(raw)
    assert verdict.allow is False
    assert [reason.code for reason in verdict.reasons] == [code]
    assert verdict.kind != ""


def test_a_denial_keeps_its_reasons() -> None:
    verdict = read(doc(allow=False, reasons=[{"code": "batch", "msg": "33 > 32"}]))
    assert verdict.allow is False
    assert (verdict.reasons[0].code, verdict.reasons[0].msg, verdict.kind) == ("batch", "33 > 32", "")


def test_a_backtrace_is_cut_and_a_panic_is_told_apart() -> None:
    class Panic(BaseException):
        pass

    assert failed(RuntimeError("bad\n\nStack backtrace:\n 0: x")).reasons[0].msg == "bad"
    assert failed(RuntimeError("bad")).kind == "evaluation"
    assert failed(Panic("unsendable")).kind == "panic"
    assert failed(Panic("unsendable")).allow is False
