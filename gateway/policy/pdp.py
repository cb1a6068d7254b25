"""The decision point, and ``enforce``: the only mint of permits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from gateway.errors import PermissionDenied
from gateway.types import Call, Context, Decision, ModelFacts, Permit, Principal


class SharedMemoryFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A shared-memory call as policy sees it; ``all`` is an unregister that names no region."""

    kind: Literal["system", "cuda"]
    region: str = ""
    key: str = ""
    offset: int = 0
    byte_size: int = 0
    device_id: int = 0
    all: bool = False


class RepositoryFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A model-repository call as policy sees it: names of overridden files, never their content."""

    model: str = ""
    ready_only: bool = False
    unload_dependents: bool = False
    config_override: bool = False
    file_overrides: tuple[str, ...] = ()


class SettingsFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A trace or log settings call as policy sees it."""

    scope: Literal["global", "model"]
    writes: Mapping[str, str] = {}


Facts: TypeAlias = SharedMemoryFacts | RepositoryFacts | SettingsFacts
"""What a call that is not a prediction asks for, beside the model."""


class Query(msgspec.Struct, frozen=True, gc=False):
    """What a policy is asked about. ``model`` is None for calls that name none; ``call`` only for predictions."""

    principal: Principal
    context: Context
    model: ModelFacts | None = None
    requested: str = ""
    requested_version: str = ""
    call: Call | None = None
    stream_seq: int = 0
    shared_memory: SharedMemoryFacts | None = None
    repository: RepositoryFacts | None = None
    settings: SettingsFacts | None = None


def asking(query: Query, facts: Facts) -> Query:
    """``query`` with what its call asks for."""
    if isinstance(facts, SharedMemoryFacts):
        return msgspec.structs.replace(query, shared_memory=facts)
    if isinstance(facts, RepositoryFacts):
        return msgspec.structs.replace(query, repository=facts)
    return msgspec.structs.replace(query, settings=facts)


class DecisionPoint(Protocol):
    """Decides queries; one meaning over every engine."""

    @property
    def revision(self) -> str:
        """Names the policy bundle in force."""
        ...

    def decide_now(self, query: Query) -> Decision | None:
        """The same without waiting; None when somebody else has to be asked. Raises: as ``decide``."""
        ...

    async def decide(self, query: Query) -> Decision:
        """The policy's decision on ``query``. No rule, an error or an unknown obligation is a denial.

        Raises: PolicyUnavailable when the engine could not be asked.
        """
        ...


async def known(decision: Decision) -> Decision:
    """A decision that is there already, for those who await one."""
    return decision


def enforce(decision: Decision) -> Permit:
    """The permit that ``decision`` gives, for exactly the servable it was made about.

    A denial whose effect is ``warned`` (see ``modes``) permits too; the record keeps both.
    Raises: PermissionDenied with the reasons' codes.
    """
    if not decision.permits:
        raise PermissionDenied(decision.codes or ("denied",), decision.id)
    return Permit(decision.servable, decision)
