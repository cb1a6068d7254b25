"""The decision point, and ``enforce``: the only mint of permits."""

from __future__ import annotations

from typing import Protocol

import msgspec

from gateway.errors import PermissionDenied
from gateway.types import Call, Context, Decision, ModelFacts, Permit, Principal


class Query(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a policy is asked about. ``model`` is None for calls that name none; ``call`` only for predictions."""

    principal: Principal
    context: Context
    model: ModelFacts | None = None
    requested: str = ""
    requested_version: str = ""
    call: Call | None = None
    stream_seq: int = 0


class DecisionPoint(Protocol):
    """Decides queries; one meaning over every engine."""

    @property
    def revision(self) -> str:
        """Names the policy bundle in force."""
        ...

    async def decide(self, query: Query) -> Decision:
        """The policy's decision on ``query``. No rule, an error or an unknown obligation is a denial.

        Raises: PolicyUnavailable when the engine could not be asked.
        """
        ...


def enforce(decision: Decision) -> Permit:
    """The permit that ``decision`` gives, for exactly the servable it was made about.

    Raises: PermissionDenied with the reasons' codes.
    """
    if decision.allow is not True:
        raise PermissionDenied(decision.codes or ("denied",), decision.id)
    return Permit(decision.servable, decision)
