"""The model repository as callers may see and change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.errors import InvalidInput, Unavailable, Unsupported
from gateway.policy.pdp import RepositoryFacts
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed
from gateway.rpc.models import Models
from gateway.serving.version_policy import State
from gateway.transport.seam import Unary
from gateway.types import ModelRef
from gateway.v1 import inference as v1

_ModelIndex = v1.RepositoryIndexResponse.ModelIndex


class Control(Protocol):
    """Loading and unloading on request."""

    def names(self) -> Sequence[str]:
        """Every model of the repositories, loaded or not."""
        ...

    def unloaded(self, name: str) -> bool:
        """Whether ``name`` was served once and was unloaded."""
        ...

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Serve ``name`` in every worker. Raises: NothingToLoad, FailedPrecondition, InvalidInput, Unavailable."""
        ...

    async def unload(self, name: str) -> None:
        """Serve ``name`` no more. Raises: Unavailable."""
        ...


class NoControl:
    """The control of a server that follows its repository, or serves what it found at the start."""

    def names(self) -> Sequence[str]:
        return ()

    def unloaded(self, name: str) -> bool:
        return False

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        raise Unavailable(_NOT_EXPLICIT)

    async def unload(self, name: str) -> None:
        raise Unavailable(_NOT_EXPLICIT)


NO_CONTROL = NoControl()
_NOT_EXPLICIT = "explicit model load / unload is not allowed if polling is enabled"
_STATES = {State.NEW: "UNKNOWN"}


def repository_methods(governed: Governed, models: Models, control: Control) -> Mapping[str, Unary]:
    """Handlers by method name."""

    async def index(asked: Asked[v1.RepositoryIndexRequest]) -> v1.RepositoryIndexResponse:
        _one_repository(asked.request.repository_name)
        rows = _rows(models, control, only_ready=asked.request.ready)
        visible = await governed.gate.visible(asked.context, sorted({ModelRef(row.name) for row in rows}, key=str))
        return v1.RepositoryIndexResponse(models=[row for row in rows if ModelRef(row.name) in visible])

    async def load(asked: Asked[v1.RepositoryModelLoadRequest]) -> v1.RepositoryModelLoadResponse:
        request = asked.request
        _one_repository(request.repository_name)
        _named(request.model_name)
        await control.load(request.model_name, *_overrides(request))
        return v1.RepositoryModelLoadResponse()

    async def unload(asked: Asked[v1.RepositoryModelUnloadRequest]) -> v1.RepositoryModelUnloadResponse:
        request = asked.request
        _one_repository(request.repository_name)
        for name, parameter in request.parameters.items():
            if name != "unload_dependents" or parameter.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidInput(f"unload parameter '{name}' is unknown; expected unload_dependents as bool_param")
        await control.unload(request.model_name)
        return v1.RepositoryModelUnloadResponse()

    return {
        "RepositoryIndex": governed.unary(
            actions.REPOSITORY_INDEX,
            v1.RepositoryIndexRequest,
            index,
            facts=lambda r: RepositoryFacts(ready_only=r.ready),
        ),
        "RepositoryModelLoad": governed.unary(
            actions.REPOSITORY_LOAD, v1.RepositoryModelLoadRequest, load, ref=_ref, facts=_load_facts, resolve=False
        ),
        "RepositoryModelUnload": governed.unary(
            actions.REPOSITORY_UNLOAD,
            v1.RepositoryModelUnloadRequest,
            unload,
            ref=_ref,
            facts=_unload_facts,
            resolve=False,
        ),
    }


def _ref(request: v1.RepositoryModelLoadRequest | v1.RepositoryModelUnloadRequest) -> ModelRef:
    return ModelRef(request.model_name)


def _rows(models: Models, control: Control, *, only_ready: bool) -> list[_ModelIndex]:
    """One row a version, by name, then number; a model that is not loaded has a row with its name."""
    rows = [
        _ModelIndex(name=row.name, version=row.version, state=_STATES.get(row.state, row.state), reason=row.reason)
        for row in models.index()
    ]
    known = {row.name for row in rows}
    for name in control.names():
        if name not in known:
            gone = control.unloaded(name)
            rows.append(_ModelIndex(name=name, state="UNAVAILABLE" if gone else "", reason="unloaded" if gone else ""))
    rows.sort(key=lambda row: row.name)
    return [row for row in rows if row.state == "READY" or not only_ready]


def _one_repository(name: str) -> None:
    if name:
        raise Unsupported(f"repository_name came as '{name}', but models are addressed by model_name alone")


def _named(name: str) -> None:
    if not name.strip():
        raise InvalidInput("Model name cannot be empty. Please enter a valid name to deploy.")
    if ".." in name or "/" in name or "\0" in name:
        raise InvalidInput(f"model name must not contain path traversal characters, got '{name}'")


def _overrides(request: v1.RepositoryModelLoadRequest) -> tuple[str | None, dict[str, bytes]]:
    """The configuration (None: the repository's own) and the files that a load request carries."""
    config: str | None = None
    files: dict[str, bytes] = {}
    for name, parameter in request.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if name == "config" and kind == "string_param":
            config = parameter.string_param
        elif name.startswith("file:") and kind == "bytes_param":
            files[name.removeprefix("file:")] = parameter.bytes_param
        else:
            raise InvalidInput(
                f"load parameter '{name}' came as {kind}; expected config as string_param or file:PATH as bytes_param"
            )
    return config, files


def _load_facts(request: v1.RepositoryModelLoadRequest) -> RepositoryFacts:
    files = sorted(name.removeprefix("file:") for name in request.parameters if name.startswith("file:"))
    return RepositoryFacts(
        model=request.model_name, config_override="config" in request.parameters, file_overrides=tuple(files)
    )


def _unload_facts(request: v1.RepositoryModelUnloadRequest) -> RepositoryFacts:
    # A protobuf map makes what it is asked for: look before.
    dependents = "unload_dependents" in request.parameters and request.parameters["unload_dependents"].bool_param
    return RepositoryFacts(model=request.model_name, unload_dependents=dependents)
