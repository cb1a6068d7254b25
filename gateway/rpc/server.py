"""What server and models say of themselves: live, ready, metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.errors import ModelNotFound
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed
from gateway.rpc.model_config_answer import render
from gateway.rpc.models import Models, ready_versions
from gateway.serving.spec import TensorSpec
from gateway.transport.seam import Unary
from gateway.types import ModelRef, Permit, ServableId
from gateway.v1 import inference as v1

PLATFORM = "onnxruntime_onnx"


def server_methods(
    governed: Governed,
    models: Models,
    *,
    name: str,
    version: str,
    ready: Callable[[], bool],
    extensions: tuple[str, ...],
    public_health: bool,
) -> Mapping[str, Unary]:
    """Handlers by method name. ``ready`` says whether this worker can serve; ``extensions`` are Triton's names for
    what it serves. ``public_health``: liveness and readiness answer everybody."""

    def live() -> v1.ServerLiveResponse:
        return v1.ServerLiveResponse(live=True)

    def server_ready() -> v1.ServerReadyResponse:
        return v1.ServerReadyResponse(ready=ready())

    def model_ready(asked: Asked[v1.ModelReadyRequest]) -> v1.ModelReadyResponse:
        # An unknown model is not ready; the permit then names no version.
        servable = asked.permit.servable
        return v1.ModelReadyResponse(ready=servable is not None and servable.version != "")

    def metadata(_: Asked[v1.ServerMetadataRequest]) -> v1.ServerMetadataResponse:
        return v1.ServerMetadataResponse(name=name, version=version, extensions=extensions)

    def model_config(asked: Asked[v1.ModelConfigRequest]) -> v1.ModelConfigResponse:
        id_ = permitted(asked.permit)
        return v1.ModelConfigResponse(config=render(models.servable(id_).settings, id_.name))

    def model_metadata(asked: Asked[v1.ModelMetadataRequest]) -> v1.ModelMetadataResponse:
        return describe(models, asked)

    table = {
        "ModelReady": governed.unary(actions.MODEL_READY, v1.ModelReadyRequest, model_ready, ref=named, resolve=False),
        "ServerMetadata": governed.unary(actions.SERVER_METADATA, v1.ServerMetadataRequest, metadata),
        "ModelMetadata": governed.unary(actions.MODEL_METADATA, v1.ModelMetadataRequest, model_metadata, ref=named),
        "ModelConfig": governed.unary(actions.MODEL_CONFIG, v1.ModelConfigRequest, model_config, ref=named),
    }
    if public_health:
        table["ServerLive"] = governed.public(v1.ServerLiveRequest, lambda _: live())
        table["ServerReady"] = governed.public(v1.ServerReadyRequest, lambda _: server_ready())
    else:
        table["ServerLive"] = governed.unary(actions.SERVER_LIVE, v1.ServerLiveRequest, lambda _: live())
        table["ServerReady"] = governed.unary(actions.SERVER_READY, v1.ServerReadyRequest, lambda _: server_ready())
    return table


def named(
    request: v1.ModelReadyRequest | v1.ModelMetadataRequest | v1.ModelConfigRequest,
) -> ModelRef:
    """The model that a request with ``name`` and ``version`` means."""
    return ModelRef(request.name, request.version)


def permitted(permit: Permit) -> ServableId:
    """The model that ``permit`` is about. Raises: ModelNotFound when it names none."""
    if permit.servable is None:
        raise ModelNotFound("Request for unknown model: none was named")
    return permit.servable


def describe(models: Models, asked: Asked[v1.ModelMetadataRequest]) -> v1.ModelMetadataResponse:
    """The metadata of the permitted model; all its ready versions unless one was asked for."""
    servable = permitted(asked.permit)
    signature = models.servable(servable).signature
    return v1.ModelMetadataResponse(
        name=servable.name,
        versions=[servable.version] if asked.request.version else ready_versions(models, servable.name),
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in signature.inputs],
        outputs=[_tensor(spec) for spec in signature.outputs],
    )


def _tensor(spec: TensorSpec) -> v1.ModelMetadataResponse.TensorMetadata:
    return v1.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
