"""What server and models say of themselves: live, ready, metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.errors import ModelNotFound
from gateway.rpc import actions
from gateway.rpc.governed import Governed
from gateway.rpc.models import Models, ready_versions
from gateway.serving.spec import TensorSpec
from gateway.transport.seam import Unary
from gateway.types import ModelRef, Permit
from gateway.v1 import inference as v1

EXTENSIONS = ("classification", "binary_tensor_data", "parameters", "schedule_policy")
"""Triton's names for what this server serves; clients look for them here."""

PLATFORM = "onnxruntime_onnx"


def server_methods(
    governed: Governed,
    models: Models,
    *,
    name: str,
    version: str,
    ready: Callable[[], bool],
    extensions: tuple[str, ...] = EXTENSIONS,
) -> Mapping[str, Unary]:
    """Handlers by method name. ``ready`` says whether the worker itself (policy, ledger) can serve."""

    def live(_: v1.ServerLiveRequest, __: Permit) -> v1.ServerLiveResponse:
        return v1.ServerLiveResponse(live=True)

    def server_ready(_: v1.ServerReadyRequest, __: Permit) -> v1.ServerReadyResponse:
        return v1.ServerReadyResponse(ready=ready() and models.all_ready())

    def model_ready(_: v1.ModelReadyRequest, permit: Permit) -> v1.ModelReadyResponse:
        # An unknown model is not ready; the permit then names no version.
        return v1.ModelReadyResponse(ready=permit.servable is not None and permit.servable.version != "")

    def metadata(_: v1.ServerMetadataRequest, __: Permit) -> v1.ServerMetadataResponse:
        return v1.ServerMetadataResponse(name=name, version=version, extensions=extensions)

    def model_metadata(request: v1.ModelMetadataRequest, permit: Permit) -> v1.ModelMetadataResponse:
        return describe(models, request.version, permit)

    return {
        "ServerLive": governed.unary(actions.SERVER_LIVE, v1.ServerLiveRequest, live),
        "ServerReady": governed.unary(actions.SERVER_READY, v1.ServerReadyRequest, server_ready),
        "ModelReady": governed.unary(actions.MODEL_READY, v1.ModelReadyRequest, model_ready, ref=named, resolve=False),
        "ServerMetadata": governed.unary(actions.SERVER_METADATA, v1.ServerMetadataRequest, metadata),
        "ModelMetadata": governed.unary(actions.MODEL_METADATA, v1.ModelMetadataRequest, model_metadata, ref=named),
    }


def named(request: v1.ModelReadyRequest | v1.ModelMetadataRequest) -> ModelRef:
    """The model that a request with ``name`` and ``version`` means."""
    return ModelRef(request.name, request.version)


def describe(models: Models, asked: str, permit: Permit) -> v1.ModelMetadataResponse:
    """The metadata of the permitted model; all ready versions unless one was ``asked`` for."""
    servable = permit.servable
    if servable is None:
        raise ModelNotFound("model metadata needs a model name")
    signature = models.servable(servable).signature
    return v1.ModelMetadataResponse(
        name=servable.name,
        versions=[servable.version] if asked else ready_versions(models, servable.name),
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in signature.inputs],
        outputs=[_tensor(spec) for spec in signature.outputs],
    )


def _tensor(spec: TensorSpec) -> v1.ModelMetadataResponse.TensorMetadata:
    return v1.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
