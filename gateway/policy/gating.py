"""A gate before a decision point: shut, it decides nothing, because what it would decide with is not to be trusted."""

from __future__ import annotations

from gateway.errors import PolicyUnavailable
from gateway.policy.pdp import DecisionPoint, Query
from gateway.types import Decision

FOR_EVER_NS = 2**63 - 1


class GatedPoint:
    """Decides while the gate is open. ``open_until`` and ``shut`` are called beside the requests, on their loop.

    With ``max_age_s`` the gate closes by itself that long after the policy in force was last known to be the one that
    it should be: a source that went away, or that holds something refused, must not be overlooked for ever.
    """

    def __init__(self, point: DecisionPoint, *, max_age_s: float = 0.0) -> None:
        self._point = point
        self._max_age_ns = int(max_age_s * 1e9) if max_age_s else FOR_EVER_NS
        self._until_ns = 0
        self._why = "no policy has been confirmed yet"

    @property
    def revision(self) -> str:
        """Names the policy bundle in force."""
        return self._point.revision

    def confirm(self, at_ns: int) -> None:
        """The policy in force was the right one at ``at_ns`` (monotonic)."""
        self._until_ns = min(at_ns + self._max_age_ns, FOR_EVER_NS)
        self._why = f"the policy in force was last confirmed more than {self._max_age_ns / 1e9:g} s ago"

    def shut(self, why: str) -> None:
        """Decide nothing until the next ``confirm``."""
        self._until_ns, self._why = 0, why

    def closed(self, now_ns: int) -> str:
        """Why it decides nothing at ``now_ns``; "" while it does."""
        return self._why if now_ns >= self._until_ns else ""

    async def decide(self, query: Query) -> Decision:
        """The point's decision. Raises: PolicyUnavailable while the gate is shut; what the point raises."""
        if query.context.received_ns >= self._until_ns:
            raise PolicyUnavailable("the policy engine cannot be asked: what it decides with is not confirmed")
        return await self._point.decide(query)
