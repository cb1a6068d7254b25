"""The method table: every RPC that is served, by its full name."""

from __future__ import annotations

from collections.abc import Callable

from gateway.pipeline.handler import InferenceHandler
from gateway.rpc.actions import HEALTH, INFERENCE
from gateway.rpc.context import Clocks, Trust
from gateway.rpc.governed import Gate, Governed
from gateway.rpc.health import Health
from gateway.rpc.inference import model_infer
from gateway.rpc.log_settings import LogSettings, log_methods
from gateway.rpc.models import Models
from gateway.rpc.prompt import Begin, prompt_infer
from gateway.rpc.reflection import reflection_methods
from gateway.rpc.regions import NO_REGIONS
from gateway.rpc.repository import NO_CONTROL, Control, repository_methods
from gateway.rpc.server import server_methods
from gateway.rpc.shared_memory import NO_REGISTRY, shared_memory_methods
from gateway.rpc.shared_regions import SharedRegions
from gateway.rpc.shedding import Door, Shedding
from gateway.rpc.statistics import Counted, statistics_methods
from gateway.rpc.streaming import model_stream_infer
from gateway.rpc.trace_settings import TraceSettings, trace_methods
from gateway.transport.seam import Methods, Unary

EXTENSIONS = ("classification", "binary_tensor_data", "parameters", "schedule_policy", "model_configuration")
"""Triton's names for what is served whatever the configuration; clients look for them in ServerMetadata."""


def methods(
    *,
    begin: Begin,
    door: Door | None = None,
    gate: Gate,
    models: Models,
    clocks: Clocks,
    version: str,
    ready: Callable[[], bool],
    name: str = "triton",
    allowed: frozenset[str] = frozenset(),
    trust: Trust = "authenticated",
    memory: SharedRegions | None = None,
    control: Control | None = None,
    statistics: Counted | None = None,
    logs: LogSettings | None = None,
    traces: TraceSettings | None = None,
    public_health: bool = True,
    reflection: bool = False,
) -> Methods:
    """The table for one worker. ``begin`` begins predictions, ``door`` says when they are turned away unseen; without
    one, never.

    ``name`` and ``version`` are what ServerMetadata answers (some clients expect ``triton``); ``ready`` says
    whether the worker itself can serve; ``allowed`` are the metadata names that policy may see, ``trust`` says
    whose traces are continued. ``memory`` is what
    local callers may share with us, ``control`` loads and unloads on request, ``statistics`` counts the calls of
    models over all workers, ``logs`` and ``traces`` are settings that callers may change; what is None is not served.
    With ``public_health`` liveness and readiness of the server answer everybody: one bit, for probes without
    identity. ``reflection`` describes the services to tools.
    """
    governed = Governed(gate, clocks, allowed, trust)
    mark = None if traces is None else traces.marked
    regions = memory or NO_REGIONS
    optional = {
        "system_shared_memory": memory,
        "model_repository": control,
        "statistics": statistics,
        "logging": logs,
        "trace": traces,
    }

    def serves() -> bool:
        return ready() and models.all_ready()

    def known(model: str) -> bool:
        return any(row.name == model for row in models.index())

    inference: dict[str, Unary] = {
        "ModelInfer": model_infer(governed, InferenceHandler(begin), regions, mark),
        **server_methods(
            governed,
            models,
            name=name,
            version=version,
            ready=serves,
            extensions=(*EXTENSIONS, *(extension for extension, part in optional.items() if part is not None)),
            public_health=public_health,
        ),
        **repository_methods(governed, models, control or NO_CONTROL),
        **shared_memory_methods(governed, memory or NO_REGISTRY),
        **(statistics_methods(governed, models, statistics) if statistics else {}),
        **(log_methods(governed, logs) if logs else {}),
        **(trace_methods(governed, traces, known) if traces else {}),
    }
    health = Health(governed, models, ready=serves, public=public_health)
    return Methods(
        unary={f"{INFERENCE}/{method}": unary for method, unary in inference.items()}
        | {f"{HEALTH}/{method}": unary for method, unary in health.unary().items()},
        stream={f"{HEALTH}/{method}": stream for method, stream in health.stream().items()}
        | {f"{INFERENCE}/ModelStreamInfer": model_stream_infer(governed, begin, regions, mark)}
        | (reflection_methods(governed) if reflection else {}),
        prompt={f"{INFERENCE}/ModelInfer": prompt_infer(governed, begin, regions, mark)},
        shed={f"{INFERENCE}/ModelInfer": Shedding(door)} if door is not None else {},
    )
