"""Enforce, warn: what a denial does. The record always holds the true decision and, apart from it, the effect.

There is no switch that turns enforcement off. An exception names a reason, may be narrowed to a tenant or a model, has
an owner and an end; after its end it enforces. Errors, undefined decisions and anything that is not a denial by the
policy's own named reasons are never softened.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from gateway.malformed import MALFORMED
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.obligations import Header
from gateway.policy.pdp import DecisionPoint, Query
from gateway.types import Decision, Reason

_log = logging.getLogger("gateway.policy")

Mode: TypeAlias = Literal["enforce", "warn"]
_OF_GATEKEEPER: dict[str, Mode] = {"deny": "enforce", "dryrun": "warn"}

BREAK_GLASS = "break_glass"
"""The code beside a denial's own that says: a grant of emergency access served it."""

FIXED = frozenset(
    {
        "policy_undefined",
        "policy_error",
        "invalid_decision",
        "unknown_obligation",
        "obligation_conflict",
        "contradictory_decision",
        "cache_mismatch",
        BREAK_GLASS,
    }
)
"""Denials that the gateway states itself: nothing was decided, so nothing can be excused."""


class ModeEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One exception: denials with ``reason`` only warn, for ``tenant`` and ``model`` ("" for all), before ``until_us``
    (microseconds since 1970). Gatekeeper's words ``deny`` and ``dryrun`` mean enforce and warn."""

    reason: Annotated[str, msgspec.Meta(min_length=1)]
    mode: Literal["enforce", "warn", "deny", "dryrun"]
    owner: Annotated[str, msgspec.Meta(min_length=1)]
    until_us: Annotated[int, msgspec.Meta(gt=0)]
    tenant: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        if self.reason in FIXED:
            raise ValueError(f"{self.reason} is the gateway's own denial and cannot be softened")

    @property
    def warns(self) -> bool:
        """Whether this entry softens."""
        return _OF_GATEKEEPER.get(self.mode, self.mode) == "warn"

    def covers(self, code: str, tenant: str, model: str, now_us: int) -> bool:
        """Whether this entry is about a denial with ``code`` now. The end itself is no longer covered."""
        return (
            self.reason == code and self.tenant in ("", tenant) and self.model in ("", model) and now_us < self.until_us
        )


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Emergency access, verified: ``subject`` of ``tenant`` passes the denials ``reasons`` of ``action`` on ``model``
    ("" for any) from ``from_us`` to ``until_us`` (microseconds since 1970). See ``breakglass``."""

    id: str
    subject: str
    tenant: str
    action: str
    model: str
    reasons: frozenset[str]
    why: str
    from_us: int
    until_us: int
    signers: tuple[str, ...]

    def holds(self, now_us: int) -> bool:
        """Whether it is in force; its end is no longer part of it."""
        return self.from_us <= now_us < self.until_us

    def covers(self, code: str, query: Query) -> bool:
        """Whether it passes a denial of ``query`` with ``code``."""
        who, action = query.principal, query.context.action
        model = query.model.id.name if query.model is not None else ""
        return (
            code in self.reasons
            and (who.id, who.tenant) == (self.subject, self.tenant)
            and f"{action.group}:{action.name}" == self.action
            and self.model in ("", model)
            and self.holds(query.context.received_us)
        )


class ModedPoint:
    """A decision point whose denials only warn where every reason has an exception, or a grant, in force.

    Such a decision stays a denial, with its reasons and obligations; its effect is ``warned``, for which ``enforce``
    gives a permit, and the caller gets the codes in ``x-policy-warning``. The narrowest entry wins: tenant and model,
    then either, then neither. What a grant served says so among its reasons and in the log, each time.
    """

    def __init__(self, point: DecisionPoint, entries: Iterable[ModeEntry], grants: Iterable[Grant] = ()) -> None:
        self._point = point
        self._entries = _narrowest_first(entries)
        self._grants = tuple(grants)

    @property
    def revision(self) -> str:
        """Names the policy bundle in force."""
        return self._point.revision

    def replace(self, entries: Iterable[ModeEntry]) -> None:
        """Decide with other exceptions from the next query on."""
        self._entries = _narrowest_first(entries)

    def in_force(self, now_us: int) -> tuple[ModeEntry, ...]:
        """Entries that soften now: what startup logs, metrics and the console must show."""
        return tuple(entry for entry in self._entries if entry.warns and now_us < entry.until_us)

    def grant(self, grants: Iterable[Grant]) -> None:
        """Decide with other grants from the next query on."""
        self._grants = tuple(grants)

    def decide_now(self, query: Query) -> Decision | None:
        """As ``decide``, if the point has a decision at once."""
        decision = self._point.decide_now(query)
        return None if decision is None else self._softened(decision, query)

    async def decide(self, query: Query) -> Decision:
        """The decision, softened where exceptions and grants cover all of it. Raises: what the point raises."""
        return self._softened(await self._point.decide(query), query)

    def _softened(self, decision: Decision, query: Query) -> Decision:
        if decision.allow or not (self._entries or self._grants):
            return decision
        used: list[Grant] = []
        for code in decision.codes:
            if not self._warns(code, query):
                grant = next((grant for grant in self._grants if grant.covers(code, query)), None)
                if grant is None:
                    return decision
                used.append(grant)
        if used:
            _log.warning("policy.break_glass_used", extra={"grants": [g.id for g in used], "decision": decision.id})
        return soften(decision, used) if decision.codes else decision

    def _warns(self, code: str, query: Query) -> bool:
        tenant = query.principal.tenant
        model = query.model.id.name if query.model is not None else ""
        now_us = query.context.received_us
        for entry in self._entries:
            if entry.covers(code, tenant, model, now_us):
                return entry.warns
        return False


def _narrowest_first(entries: Iterable[ModeEntry]) -> tuple[ModeEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: (not entry.tenant) + (not entry.model)))


def soften(decision: Decision, grants: Iterable[Grant] = ()) -> Decision:
    """The same denial with the effect ``warned``; its codes travel to the caller as an obligation."""
    used = tuple(
        Reason(BREAK_GLASS, "warn", grant.why, {"grant": grant.id, "signers": list(grant.signers)})
        for grant in dict.fromkeys(grants)
    )
    codes = decision.codes + ((BREAK_GLASS,) if used else ())
    return msgspec.structs.replace(
        decision,
        effect="warned",
        reasons=decision.reasons + used,
        obligations=(*decision.obligations, Header(name="x-policy-warning", value=",".join(codes)[:1024])),
    )


class _Stated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: str
    mode: str
    owner: str
    until: Annotated[datetime.datetime, msgspec.Meta(tz=True)]
    tenant: str = ""
    model: str = ""


def read_entries(path: Path) -> tuple[ModeEntry, ...]:
    """The exceptions in a JSON file: a list of objects, ``until`` with date, time and zone.

    Raises: PolicyInvalid naming the file and what does not fit.
    """
    try:
        stated = msgspec.json.decode(path.read_bytes(), type=tuple[_Stated, ...])
        return tuple(msgspec.convert(_entry(item), ModeEntry) for item in stated)
    except (OSError, *MALFORMED) as error:
        raise PolicyInvalid([Finding(str(path), 0, 0, "exceptions", str(error))]) from error


def _entry(stated: _Stated) -> dict[str, object]:
    fields = msgspec.structs.asdict(stated)
    until = fields.pop("until")
    return {**fields, "until_us": int(until.timestamp() * 1_000_000)}
