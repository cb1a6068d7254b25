"""The method table: every RPC that is served, by its full name."""

from __future__ import annotations

from collections.abc import Callable

from gateway.rpc.actions import HEALTH, INFERENCE
from gateway.rpc.context import Clocks
from gateway.rpc.governed import Gate, Governed
from gateway.rpc.health import Health
from gateway.rpc.inference import Handler, model_infer
from gateway.rpc.models import Models
from gateway.rpc.reflection import reflection_methods
from gateway.rpc.regions import NO_REGIONS
from gateway.rpc.repository import repository_methods
from gateway.rpc.server import server_methods
from gateway.rpc.shared_memory import NO_REGISTRY, shared_memory_methods
from gateway.rpc.shared_regions import SharedRegions
from gateway.rpc.statistics import Counted, statistics_methods
from gateway.rpc.streaming import model_stream_infer
from gateway.transport.seam import Methods

EXTENSIONS = ("classification", "binary_tensor_data", "parameters", "schedule_policy", "model_configuration")
"""Triton's names for what is served whatever the configuration; clients look for them in ServerMetadata."""


def methods(
    *,
    handler: Handler,
    gate: Gate,
    models: Models,
    clocks: Clocks,
    version: str,
    ready: Callable[[], bool],
    name: str = "triton",
    allowed: frozenset[str] = frozenset(),
    memory: SharedRegions | None = None,
    statistics: Counted | None = None,
    public_health: bool = True,
    reflection: bool = False,
) -> Methods:
    """The table for one worker.

    ``name`` and ``version`` are what ServerMetadata answers (some clients expect ``triton``); ``ready`` says
    whether the worker itself can serve; ``allowed`` are the metadata names that policy may see. ``memory`` is what
    local callers may share with us, ``statistics`` counts the calls of models, over all workers. With
    ``public_health`` liveness and readiness of the server answer everybody: one bit, for probes without identity.
    ``reflection`` describes the services to tools.
    """
    governed = Governed(gate, clocks, allowed)
    regions = memory or NO_REGIONS
    optional = (("statistics", statistics), ("system_shared_memory", memory))

    def serves() -> bool:
        return ready() and models.all_ready()

    server = server_methods(
        governed,
        models,
        name=name,
        version=version,
        ready=serves,
        extensions=(*EXTENSIONS, *(name for name, part in optional if part is not None)),
        public_health=public_health,
    )
    inference = {
        "ModelInfer": model_infer(handler, clocks, allowed=allowed, regions=regions),
        **server,
        **repository_methods(governed, models),
        **shared_memory_methods(governed, memory or NO_REGISTRY),
        **(statistics_methods(governed, models, statistics) if statistics else {}),
    }
    health = Health(governed, models, ready=serves, public=public_health)
    return Methods(
        unary={f"{INFERENCE}/{method}": unary for method, unary in inference.items()}
        | {f"{HEALTH}/{method}": unary for method, unary in health.unary().items()},
        stream={f"{HEALTH}/{method}": stream for method, stream in health.stream().items()}
        | {f"{INFERENCE}/ModelStreamInfer": model_stream_infer(governed, handler, regions)}
        | (reflection_methods(governed) if reflection else {}),
    )
