"""Which denials only warn, as files say: dated exceptions and emergency grants, followed while the gateway runs."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.app.clocks import clock_us
from gateway.config.tree import Policy as PolicyKeys
from gateway.policy.breakglass import read_grants, read_signers
from gateway.policy.findings import PolicyInvalid
from gateway.policy.modes import Grant, ModedPoint, read_entries
from gateway.policy.pdp import DecisionPoint
from gateway.policy.reloader import Fingerprint, fingerprint

_log = logging.getLogger("gateway.policy")


class Leniency:
    """Wraps a decision point where the configuration names exceptions or signers of grants, and follows the files.

    A file that cannot be read leaves the last one in force; a grant that is none is left out. Everything that softens
    is logged when it comes into force. For one event loop.
    """

    def __init__(self, keys: PolicyKeys, grants: Path) -> None:
        self._exceptions = keys.exceptions
        self._signers = keys.break_glass
        self._folder = grants
        self._moded: ModedPoint | None = None
        self._seen: dict[Path, Fingerprint] = {}
        self._known: frozenset[Grant] = frozenset()

    def over(self, point: DecisionPoint) -> DecisionPoint:
        """``point``, softened as the files say. Raises: PolicyInvalid when one cannot be read."""
        if self._exceptions is None and self._signers is None:
            return point
        self._moded = ModedPoint(point, ())
        self._take_exceptions()
        self._take_grants()
        return self._moded

    def follow(self) -> None:
        """Take what changed. Never raises for a bad file."""
        for take in (self._take_exceptions, self._take_grants):
            try:
                take()
            except PolicyInvalid as error:
                _log.error("policy.exceptions_refused", extra={"findings": str(error)})  # a finding, no trace

    def _take_exceptions(self) -> None:
        if self._moded is None or self._exceptions is None or not self._changed(self._exceptions):
            return
        self._moded.replace(read_entries(self._exceptions))
        for entry in self._moded.in_force(clock_us()):
            facts = {"reason": entry.reason, "tenant": entry.tenant, "model": entry.model, "owner": entry.owner}
            _log.warning("policy.not_enforced", extra={**facts, "until_us": entry.until_us})

    def _take_grants(self) -> None:
        if self._moded is None or self._signers is None:
            return
        if not (self._changed(self._signers) | self._changed(self._folder)):
            return
        grants, refused = read_grants(self._folder, read_signers(self._signers))
        self._moded.grant(grants)
        for grant in frozenset(grants) - self._known:
            facts = {"grant": grant.id, "subject": grant.subject, "tenant": grant.tenant, "action": grant.action}
            facts |= {"model": grant.model or "*", "why": grant.why, "signers": ", ".join(grant.signers)}
            _log.warning("policy.break_glass", extra={**facts, "until_us": grant.until_us})
        for name, text in refused.items():
            _log.error("policy.break_glass_refused", extra={"file": name, "cause": text})
        self._known = frozenset(grants)

    def _changed(self, path: Path) -> bool:
        """Whether there is something else at ``path`` than at the last look."""
        now = fingerprint(path)
        changed = self._seen.get(path) != now
        self._seen[path] = now
        return changed
