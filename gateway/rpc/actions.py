"""Every RPC in the words of policy: its action group and its name there (docs/protocol.md has the table)."""

from __future__ import annotations

from typing import Final

from gateway.types import Action

INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def _of(group: str, name: str, method: str, *, writes: bool = False) -> Action:
    return Action(group=group, name=name, service=INFERENCE, method=method, writes=writes)


SERVER_LIVE: Final = _of("health", "server_live", "ServerLive")
SERVER_READY: Final = _of("health", "server_ready", "ServerReady")
MODEL_READY: Final = _of("health", "model_ready", "ModelReady")
SERVER_METADATA: Final = _of("metadata", "server_metadata", "ServerMetadata")
MODEL_METADATA: Final = _of("metadata", "model_metadata", "ModelMetadata")
INFER: Final = _of("inference", "infer", "ModelInfer")
STREAM_INFER: Final = Action(group="inference", name="infer", service=INFERENCE, method="ModelStreamInfer", stream=True)
