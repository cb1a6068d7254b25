"""The method table over a gate with behaviour: who may not is not answered."""

from __future__ import annotations

import pytest

from gateway.transport.seam import Head, Refused
from gateway.v1 import inference as v1

SERVICE = "inference.GRPCInferenceService"


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
async def test_bytes_that_are_no_message_are_internal(build, gate, method):
    with pytest.raises(Refused, match="could not parse") as refused:
        await build().unary[f"{SERVICE}/{method}"](Head(method=method), b"\x0a\xff")
    assert refused.value.code == 13
    assert gate.seen == []


async def test_public_health_asks_nobody(call, gate):
    await call("ServerLive", v1.ServerLiveRequest(), v1.ServerLiveResponse)
    assert gate.seen == []


@pytest.mark.parametrize("method", ["Live", "Ready"])
async def test_health_can_be_put_under_policy(build, call, gate, method):
    gate.denied = {f"health:server_{method.lower()}"}
    request, response = getattr(v1, f"Server{method}Request"), getattr(v1, f"Server{method}Response")
    with pytest.raises(Refused) as refused:
        await call(f"Server{method}", request(), response, build(public_health=False))
    assert refused.value.code == 7


async def test_the_index_names_what_the_caller_may_see(call, gate):
    index, _ = await call("RepositoryIndex", v1.RepositoryIndexRequest(), v1.RepositoryIndexResponse)
    assert [(m.name, m.version, m.state, m.reason) for m in index.models] == [
        ("credit", "2", "READY", ""),
        ("credit", "3", "READY", ""),
        ("credit", "4", "LOADING", ""),
        ("fraud", "1", "UNAVAILABLE", "no graph"),
        ("new", "1", "UNKNOWN", ""),
    ]
    gate.hidden = {"credit"}
    index, _ = await call("RepositoryIndex", v1.RepositoryIndexRequest(), v1.RepositoryIndexResponse)
    assert {m.name for m in index.models} == {"fraud", "new"}


async def test_the_index_of_ready_models(call, gate):
    request = v1.RepositoryIndexRequest(ready=True)
    index, _ = await call("RepositoryIndex", request, v1.RepositoryIndexResponse)
    assert [(m.name, m.version) for m in index.models] == [("credit", "2"), ("credit", "3")]
    assert gate.facts.ready_only


async def test_a_named_repository_is_unsupported(call):
    request = v1.RepositoryIndexRequest(repository_name="r")
    with pytest.raises(Refused) as refused:
        await call("RepositoryIndex", request, v1.RepositoryIndexResponse)
    assert refused.value.code == 12
