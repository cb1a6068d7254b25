"""A decision point that decides nothing while it is not known that its policy is the one that it should be."""

from __future__ import annotations

from gateway.errors import PolicyUnavailable
from gateway.policy.pdp import DecisionPoint, Query
from gateway.types import Decision

FOR_EVER_NS = 2**63 - 1


class ConfirmedPoint:
    """Decides from a ``confirm`` until it is told to ``distrust``; both are called beside the requests, on their loop.

    With ``max_age_s`` a confirmation holds for that long and no longer: a source that went away, or that holds
    something refused, must not be overlooked for ever.
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

    def distrust(self, why: str) -> None:
        """Decide nothing until the next ``confirm``."""
        self._until_ns, self._why = 0, why

    def doubt(self, now_ns: int) -> str:
        """Why it decides nothing at ``now_ns``; "" while it does."""
        return self._why if now_ns >= self._until_ns else ""

    def decide_now(self, query: Query) -> Decision | None:
        """The point's decision, if it has one at once. Raises: as ``decide``."""
        self._check(query)
        return self._point.decide_now(query)

    async def decide(self, query: Query) -> Decision:
        """The point's decision. Raises: PolicyUnavailable while it is not confirmed; what the point raises."""
        self._check(query)
        return await self._point.decide(query)

    def _check(self, query: Query) -> None:
        if query.context.received_ns >= self._until_ns:
            raise PolicyUnavailable("the policy engine cannot be asked: what it decides with is not confirmed")
