"""The method table over a gate with behaviour: who may not is not answered, and nothing is answered twice."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

from gateway.errors import ModelNotFound, PermissionDenied
from gateway.policy.pdp import enforce
from gateway.rpc.context import Clocks
from gateway.rpc.service import methods
from gateway.serving.manager import ModelStatus
from gateway.serving.spec import TensorSpec
from gateway.serving.version_policy import State
from gateway.transport.seam import Head, Refused
from gateway.types import Decision, Delivery, Reply, ServableId, Tensor
from gateway.v1 import inference as v1

SERVABLE = ServableId("credit", "3", "sha256:0")
SERVICE = "inference.GRPCInferenceService"


class MemoryModels:
    """One model, `credit`, versions 2 and 3, the newest being 3."""

    signature = SimpleNamespace(inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=(TensorSpec("y", "INT64", (-1,)),))
    is_ready = True

    def servable(self, id_: ServableId):
        assert id_.name == "credit"
        return self

    def index(self):
        states = (("2", State.READY), ("3", State.READY), ("4", State.LOADING))
        return [ModelStatus("credit", version, state) for version, state in states]

    def all_ready(self) -> bool:
        return self.is_ready


class MemoryGate:
    """Lets everybody do everything but what ``denied`` names; knows only SERVABLE."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.seen: list[str] = []

    async def run(self, context, ref, answer, *, resolve=True):
        action = f"{context.action.group}:{context.action.name}"
        self.seen.append(action)
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


async def echo(call, encode):
    """A model that returns its first input."""
    if call.defect:
        raise call.defect
    if call.model.name != "credit":
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
def call(gate, models):
    table = methods(
        handler=echo,
        gate=gate,
        models=models,
        clocks=Clocks(us=lambda: 1, ns=lambda: 1),
        version="9.9",
        ready=lambda: True,
    )

    async def call(method: str, request, response):
        path = f"{SERVICE}/{method}"
        answer = await table.unary[path](Head(method=path), request.SerializeToString())
        return response.FromString(answer.body), dict(answer.trailers)

    return call


async def test_health_of_server_and_models(call, models):
    assert (await call("ServerLive", v1.ServerLiveRequest(), v1.ServerLiveResponse))[0].live
    assert (await call("ServerReady", v1.ServerReadyRequest(), v1.ServerReadyResponse))[0].ready
    models.is_ready = False
    assert not (await call("ServerReady", v1.ServerReadyRequest(), v1.ServerReadyResponse))[0].ready


@pytest.mark.parametrize(
    ("name", "version", "ready"), [("credit", "", True), ("credit", "7", False), ("no", "", False)]
)
async def test_an_unknown_model_is_not_ready_and_no_error(call, name, version, ready):
    reply, _ = await call("ModelReady", v1.ModelReadyRequest(name=name, version=version), v1.ModelReadyResponse)
    assert reply.ready is ready


async def test_metadata_of_the_server_names_what_clients_look_for(call):
    reply, trailers = await call("ServerMetadata", v1.ServerMetadataRequest(), v1.ServerMetadataResponse)
    assert (reply.name, reply.version) == ("triton", "9.9")
    assert "classification" in reply.extensions
    assert trailers["gateway-decision-id"] == b"d-1"


@pytest.mark.parametrize(("version", "versions"), [("", ["2", "3"]), ("3", ["3"])])
async def test_metadata_of_a_model(call, version, versions):
    request = v1.ModelMetadataRequest(name="credit", version=version)
    reply, _ = await call("ModelMetadata", request, v1.ModelMetadataResponse)
    assert (reply.name, list(reply.versions), reply.platform) == ("credit", versions, "onnxruntime_onnx")
    assert [(t.name, t.datatype, list(t.shape)) for t in reply.inputs] == [("x", "FP32", [-1, 4])]
    assert [(t.name, t.datatype, list(t.shape)) for t in reply.outputs] == [("y", "INT64", [-1])]


async def test_a_denied_action_is_refused_with_its_reason(call, gate):
    gate.denied = {"metadata:model_metadata"}
    with pytest.raises(Refused) as refused:
        await call("ModelMetadata", v1.ModelMetadataRequest(name="credit"), v1.ModelMetadataResponse)
    assert refused.value.code == 7
    assert dict(refused.value.trailers)["gateway-decision-id"] == b"d-1"


async def test_an_unknown_model_keeps_the_text_that_clients_match(call):
    with pytest.raises(Refused, match="Request for unknown model: 'no' is not found") as refused:
        await call("ModelMetadata", v1.ModelMetadataRequest(name="no"), v1.ModelMetadataResponse)
    assert refused.value.code == 5


async def test_a_prediction_tells_what_its_caller_may_quote(call):
    request = v1.ModelInferRequest(model_name="credit", id="a", raw_input_contents=[b"1234"])
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    reply, trailers = await call("ModelInfer", request, v1.ModelInferResponse)
    assert list(reply.raw_output_contents) == [b"1234"]
    assert trailers["gateway-prediction-id"] == b"s/9"
    assert trailers["gateway-decision-id"] == b"d-3"
    assert len(trailers["gateway-trace-id"]) == 32
    assert trailers["k"] == b"v"


async def test_a_denied_prediction_is_refused(call):
    with pytest.raises(Refused) as refused:
        await call("ModelInfer", v1.ModelInferRequest(model_name="other"), v1.ModelInferResponse)
    assert refused.value.code == 7


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ServerLive"])
async def test_bytes_that_are_no_message_are_internal(gate, models, method):
    table = methods(
        handler=echo, gate=gate, models=models, clocks=Clocks(lambda: 1, lambda: 1), version="1", ready=lambda: True
    )
    with pytest.raises(Refused, match="could not parse") as refused:
        await table.unary[f"{SERVICE}/{method}"](Head(method=method), b"\x0a\xff")
    assert refused.value.code == 13
    assert gate.seen == []
