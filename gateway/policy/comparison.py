"""Two answers to one question, compared: what a candidate policy would have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from gateway.policy.obligations import kind
from gateway.policy.verdict import Verdict
from gateway.types import Obligation

ChangeKind: TypeAlias = Literal["deny_to_allow", "allow_to_deny", "obligations", "reasons"]


def compare(
    allow: bool,
    codes: Iterable[str],
    types: Iterable[str],
    verdict: Verdict,
    before: Callable[[], frozenset[Obligation] | None] = lambda: None,
) -> tuple[ChangeKind, tuple[str, ...]] | None:
    """How ``verdict`` differs from a decision with these denying codes and obligation types; None when it does not.

    With the change come the codes or types that came, went or changed. ``before`` gives the obligations themselves,
    None where only their types are known; it is asked when the types do not differ.
    """
    new_codes = {reason.code for reason in verdict.reasons if reason.severity == "deny"}
    new_types = {kind(obligation) for obligation in verdict.obligations}
    old_codes, old_types = set(codes), set(types)
    if allow and not verdict.allow:
        return "allow_to_deny", tuple(sorted(new_codes))
    if not allow and verdict.allow:
        return "deny_to_allow", tuple(sorted(old_codes))
    if verdict.allow and new_types != old_types:
        return "obligations", tuple(sorted(new_types ^ old_types))
    if verdict.allow and new_types:
        stated = before()
        if stated is not None and stated != frozenset(verdict.obligations):
            return "obligations", tuple(sorted({kind(each) for each in stated ^ frozenset(verdict.obligations)}))
    if not verdict.allow and new_codes != old_codes:
        return "reasons", tuple(sorted(new_codes ^ old_codes))
    return None
