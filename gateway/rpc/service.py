"""The method table: every RPC that is served, by its full name."""

from __future__ import annotations

from collections.abc import Callable

from gateway.rpc.actions import INFERENCE
from gateway.rpc.context import Clocks
from gateway.rpc.governed import Gate, Governed
from gateway.rpc.inference import Handler, model_infer
from gateway.rpc.models import Models
from gateway.rpc.regions import NO_REGIONS, Regions
from gateway.rpc.server import server_methods
from gateway.transport.seam import Methods


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
    regions: Regions = NO_REGIONS,
) -> Methods:
    """The table for one worker.

    ``name`` and ``version`` are what ServerMetadata answers (some clients expect ``triton``); ``ready`` says
    whether the worker itself can serve; ``allowed`` are the metadata names that policy may see.
    """
    governed = Governed(gate, clocks, allowed)
    inference = {
        "ModelInfer": model_infer(handler, clocks, allowed=allowed, regions=regions),
        **server_methods(governed, models, name=name, version=version, ready=ready),
    }
    return Methods(unary={f"{INFERENCE}/{method}": unary for method, unary in inference.items()})
