"""The shared-memory RPCs. System memory where it is switched on; CUDA memory nowhere, for models run on CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gateway.errors import Unsupported
from gateway.policy.pdp import SharedMemoryFacts
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed
from gateway.rpc.shared_regions import Region
from gateway.transport.seam import Unary
from gateway.v1 import inference as v1


class Registry(Protocol):
    """Registered regions, as ``SharedRegions`` keeps them."""

    def status(self, name: str) -> Mapping[str, Region]: ...

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None: ...

    def unregister(self, name: str) -> None: ...


class NoRegistry:
    """The registry of a server that does not share memory."""

    def status(self, name: str) -> Mapping[str, Region]:
        return {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        raise Unsupported(_DISABLED)

    def unregister(self, name: str) -> None:
        raise Unsupported(_DISABLED)


NO_REGISTRY = NoRegistry()
_DISABLED = "Client shared memory is disabled on this server; its operator can set server.shared_memory"
_NO_CUDA = "CUDA shared memory is not served: models run on CPUs here; use system shared memory or send tensors"


def shared_memory_methods(governed: Governed, registry: Registry) -> Mapping[str, Unary]:
    """Handlers by method name."""

    def status(asked: Asked[v1.SystemSharedMemoryStatusRequest]) -> v1.SystemSharedMemoryStatusResponse:
        response = v1.SystemSharedMemoryStatusResponse()
        for name, region in registry.status(asked.request.name).items():
            entry = response.regions[name]
            entry.name, entry.key = region.name, region.key
            entry.offset, entry.byte_size = region.offset, region.byte_size
        return response

    def register(asked: Asked[v1.SystemSharedMemoryRegisterRequest]) -> v1.SystemSharedMemoryRegisterResponse:
        request = asked.request
        registry.register(request.name, request.key, request.offset, request.byte_size)
        return v1.SystemSharedMemoryRegisterResponse()

    def unregister(asked: Asked[v1.SystemSharedMemoryUnregisterRequest]) -> v1.SystemSharedMemoryUnregisterResponse:
        registry.unregister(asked.request.name)
        return v1.SystemSharedMemoryUnregisterResponse()

    return {
        "SystemSharedMemoryStatus": governed.unary(
            actions.SYSTEM_STATUS,
            v1.SystemSharedMemoryStatusRequest,
            status,
            facts=lambda r: SharedMemoryFacts(kind="system", region=r.name, all=not r.name),
        ),
        "SystemSharedMemoryRegister": governed.unary(
            actions.SYSTEM_REGISTER,
            v1.SystemSharedMemoryRegisterRequest,
            register,
            facts=lambda r: SharedMemoryFacts(
                kind="system", region=r.name, key=r.key, offset=_int64(r.offset), byte_size=_int64(r.byte_size)
            ),
        ),
        "SystemSharedMemoryUnregister": governed.unary(
            actions.SYSTEM_UNREGISTER,
            v1.SystemSharedMemoryUnregisterRequest,
            unregister,
            facts=lambda r: SharedMemoryFacts(kind="system", region=r.name, all=not r.name),
        ),
        **_cuda_methods(governed),
    }


def _cuda_methods(governed: Governed) -> Mapping[str, Unary]:
    # There never is a CUDA region, so all of them can be listed and forgotten: examples do that before they begin.
    def register(_: Asked[v1.CudaSharedMemoryRegisterRequest]) -> v1.CudaSharedMemoryRegisterResponse:
        raise Unsupported(_NO_CUDA)

    return {
        "CudaSharedMemoryStatus": governed.unary(
            actions.CUDA_STATUS,
            v1.CudaSharedMemoryStatusRequest,
            lambda _: v1.CudaSharedMemoryStatusResponse(),
            facts=lambda r: SharedMemoryFacts(kind="cuda", region=r.name, all=not r.name),
        ),
        "CudaSharedMemoryRegister": governed.unary(
            actions.CUDA_REGISTER,
            v1.CudaSharedMemoryRegisterRequest,
            register,
            facts=lambda r: SharedMemoryFacts(
                kind="cuda", region=r.name, byte_size=_int64(r.byte_size), device_id=r.device_id
            ),
        ),
        "CudaSharedMemoryUnregister": governed.unary(
            actions.CUDA_UNREGISTER,
            v1.CudaSharedMemoryUnregisterRequest,
            lambda _: v1.CudaSharedMemoryUnregisterResponse(),
            facts=lambda r: SharedMemoryFacts(kind="cuda", region=r.name, all=not r.name),
        ),
    }


def _int64(value: int) -> int:
    """Policy input knows no unsigned numbers: what is larger than any memory is the largest."""
    return min(value, 2**63 - 1)
