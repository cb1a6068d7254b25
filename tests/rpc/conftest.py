"""Models, gate and handler in memory, with behaviour; and the method table over them."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.errors import ModelNotFound, PermissionDenied
from gateway.policy.pdp import enforce
from gateway.rpc.context import Clocks
from gateway.rpc.service import methods
from gateway.serving.manager import ModelStatus
from gateway.serving.settings import ModelSettings
from gateway.serving.spec import TensorSpec
from gateway.serving.version_policy import State
from gateway.transport.seam import Head
from gateway.types import Decision, Delivery, ModelRef, Reply, ServableId, Tensor

sys.path.insert(0, str(Path(__file__).parent))  # the tests share what lies beside them
from predictions import begun

SERVABLE = ServableId("credit", "3", "sha256:0")
SERVICE = "inference.GRPCInferenceService"


class MemoryModels:
    """``credit`` with versions 2 and 3 ready and 4 loading, and ``fraud``, which failed to load."""

    def __init__(self) -> None:
        self.signature = SimpleNamespace(
            inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=(TensorSpec("y", "INT64", (-1,)),)
        )
        self.settings = ModelSettings(name="credit")
        self.is_ready = True
        self.rows = [
            ModelStatus("credit", "2", State.READY),
            ModelStatus("credit", "3", State.READY),
            ModelStatus("credit", "4", State.LOADING),
            ModelStatus("fraud", "1", State.UNAVAILABLE, "no graph"),
            ModelStatus("new", "1", State.NEW),
        ]

    def servable(self, id_: ServableId):
        assert id_.name == "credit"
        return self

    def index(self):
        return self.rows

    def all_ready(self) -> bool:
        return self.is_ready


class MemoryGate:
    """Lets everybody do everything but the actions in ``denied`` and hides the models in ``hidden``."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.hidden: set[str] = set()
        self.seen: list[str] = []
        self.facts: object = None

    async def run(self, context, ref, answer, *, resolve=True, facts=None):
        action = f"{context.action.group}:{context.action.name}"
        self.seen.append(action)
        self.facts = facts
        servable = SERVABLE if ref is not None else None
        absent = ref is not None and (ref.name != "credit" or ref.version not in ("", "3"))
        if absent and resolve:
            raise ModelNotFound(f"Request for unknown model: '{ref.name}' is not found")
        if absent:
            servable = ServableId(ref.name, "", "")
        permit = enforce(Decision(id="d-1", allow=action not in self.denied, servable=servable))
        body = answer(permit)
        body = await body if inspect.isawaitable(body) else body
        return Delivery(body=body, prediction_id="s/7", decision_id="d-1")

    async def visible(self, context, refs):
        return frozenset(ref for ref in refs if ref.name not in self.hidden)


async def echo(call, encode):
    """A model that returns its first input."""
    if call.defect:
        raise call.defect
    if call.model != ModelRef("credit"):
        raise PermissionDenied(("not_yours",), "d-2")
    outputs = (Tensor(name="y", datatype="FP32", shape=call.inputs[0].shape, data=call.inputs[0].data),)
    body = encode(Reply(call=call, servable=SERVABLE, outputs=outputs))
    return Delivery(body=body, prediction_id="s/9", decision_id="d-3", headers=(("k", "v"),))


@pytest.fixture
def gate():
    return MemoryGate()


@pytest.fixture
def models():
    return MemoryModels()


@pytest.fixture
def build(gate, models):
    """Makes the method table, with options."""

    def build(**options):
        defaults = {"version": "9.9", "ready": lambda: True, "clocks": Clocks(us=lambda: 1, ns=lambda: 1)}
        return methods(gate=gate, models=models, **(defaults | {"begin": begun(echo)} | options))

    return build


@pytest.fixture
def call(build):
    """Calls one unary method of the default table; gives the answer and its trailers."""
    table = build()

    async def call(method: str, request, response, table=table):
        path = method if "/" in method else f"{SERVICE}/{method}"
        answer = await table.unary[path](Head(method=path), request.SerializeToString())
        return response.FromString(answer.body), dict(answer.trailers)

    return call
