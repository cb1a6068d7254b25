"""The model repository as callers may see it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import Unsupported
from gateway.policy.pdp import RepositoryFacts
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed
from gateway.rpc.models import Models
from gateway.serving.version_policy import State
from gateway.transport.seam import Unary
from gateway.types import ModelRef
from gateway.v1 import inference as v1


def repository_methods(governed: Governed, models: Models) -> Mapping[str, Unary]:
    """Handlers by method name."""

    async def index(asked: Asked[v1.RepositoryIndexRequest]) -> v1.RepositoryIndexResponse:
        _one_repository(asked.request.repository_name)
        rows = [row for row in models.index() if row.state is State.READY or not asked.request.ready]
        visible = await governed.gate.visible(asked.context, sorted({ModelRef(row.name) for row in rows}, key=str))
        return v1.RepositoryIndexResponse(
            models=[
                v1.RepositoryIndexResponse.ModelIndex(
                    name=row.name, version=row.version, state=_STATES.get(row.state, row.state), reason=row.reason
                )
                for row in rows
                if ModelRef(row.name) in visible
            ]
        )

    def facts(request: v1.RepositoryIndexRequest) -> RepositoryFacts:
        return RepositoryFacts(ready_only=request.ready)

    return {"RepositoryIndex": governed.unary(actions.REPOSITORY_INDEX, v1.RepositoryIndexRequest, index, facts=facts)}


_STATES = {State.NEW: "UNKNOWN"}


def _one_repository(name: str) -> None:
    if name:
        raise Unsupported(f"repository_name came as '{name}', but models are addressed by model_name alone")
