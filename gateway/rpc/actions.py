"""Every RPC in the words of policy: its action group and its name there (docs/protocol.md has the table)."""

from __future__ import annotations

from typing import Final

from gateway.types import Action

INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def _of(group: str, name: str, method: str, *, writes: bool = False) -> Action:
    return Action(group=group, name=name, service=INFERENCE, method=method, writes=writes)


def _health(name: str, method: str, *, stream: bool = False) -> Action:
    return Action(group="health", name=name, service=HEALTH, method=method, stream=stream)


def reflect(service: str) -> Action:
    """Reflection by either of its services."""
    return Action(group="metadata", name="reflect", service=service, method="ServerReflectionInfo", stream=True)


SERVER_LIVE: Final = _of("health", "server_live", "ServerLive")
SERVER_READY: Final = _of("health", "server_ready", "ServerReady")
MODEL_READY: Final = _of("health", "model_ready", "ModelReady")
HEALTH_CHECK: Final = _health("check", "Check")
HEALTH_LIST: Final = _health("list", "List")
HEALTH_WATCH: Final = _health("watch", "Watch", stream=True)

SERVER_METADATA: Final = _of("metadata", "server_metadata", "ServerMetadata")
MODEL_METADATA: Final = _of("metadata", "model_metadata", "ModelMetadata")

INFER: Final = _of("inference", "infer", "ModelInfer")
STREAM_INFER: Final = Action(group="inference", name="infer", service=INFERENCE, method="ModelStreamInfer", stream=True)

MODEL_CONFIG: Final = _of("model-config", "get", "ModelConfig")
STATISTICS: Final = _of("statistics", "get", "ModelStatistics")

REPOSITORY_INDEX: Final = _of("model-repository", "index", "RepositoryIndex")
REPOSITORY_LOAD: Final = _of("model-repository", "load", "RepositoryModelLoad", writes=True)
REPOSITORY_UNLOAD: Final = _of("model-repository", "unload", "RepositoryModelUnload", writes=True)

SYSTEM_STATUS: Final = _of("shared-memory", "system_status", "SystemSharedMemoryStatus")
SYSTEM_REGISTER: Final = _of("shared-memory", "system_register", "SystemSharedMemoryRegister", writes=True)
SYSTEM_UNREGISTER: Final = _of("shared-memory", "system_unregister", "SystemSharedMemoryUnregister", writes=True)
CUDA_STATUS: Final = _of("shared-memory", "cuda_status", "CudaSharedMemoryStatus")
CUDA_REGISTER: Final = _of("shared-memory", "cuda_register", "CudaSharedMemoryRegister", writes=True)
CUDA_UNREGISTER: Final = _of("shared-memory", "cuda_unregister", "CudaSharedMemoryUnregister", writes=True)

TRACE_GET: Final = _of("trace", "get", "TraceSetting")
TRACE_UPDATE: Final = _of("trace", "update", "TraceSetting", writes=True)
LOG_GET: Final = _of("logging", "get", "LogSettings")
LOG_UPDATE: Final = _of("logging", "update", "LogSettings", writes=True)
