"""Streams, shared memory, health and reflection as real clients use them, on both transports."""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import uuid
from collections.abc import Iterator
from multiprocessing import shared_memory

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from oip_world import world
from running import Running
from tools import tool
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from gateway.v1.health import HealthCheckRequest, HealthCheckResponse

pytestmark = pytest.mark.slow

VALUES = np.arange(32, dtype=np.int32).reshape(2, 16)


@pytest.fixture(scope="module", params=["h2", "grpcio"])
def gateway(request, tmp_path_factory) -> Iterator[Running]:
    with world(tmp_path_factory.mktemp("streams"), request.param) as running:
        yield running


@pytest.fixture(scope="module")
def headers(gateway):
    return {"authorization": f"Bearer {gateway.key('tester', 'lab')}"}


@pytest.fixture
def client(gateway):
    with triton.InferenceServerClient(gateway.url) as client:
        yield client


def inputs(kind=triton) -> list[triton.InferInput]:
    made = [kind.InferInput(name, [2, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for tensor in made:
        tensor.set_data_from_numpy(VALUES)
    return made


def test_a_stream_answers_in_order_and_survives_errors(gateway, client, headers):
    answers: queue.Queue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    models = ["simple", "nobody", "simple", "broken", "simple"]
    for index, model in enumerate(models):
        client.async_stream_infer(model, inputs(), request_id=str(index))
    found = [answers.get(timeout=10) for _ in models]
    client.stop_stream()
    assert [r.get_response().id if r else None for r, _ in found] == ["0", None, "2", None, "4"]
    assert "Request for unknown model: 'nobody' is not found" in str(found[1][1])
    response = found[0][0].get_response()
    assert response.parameters["triton_final_response"].bool_param
    assert response.parameters["gateway_prediction_id"].string_param
    np.testing.assert_array_equal(found[4][0].as_numpy("OUTPUT0"), VALUES * 2)


def test_every_message_of_a_stream_is_recorded(gateway, client, headers):
    answers: queue.Queue[object] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    for _ in range(3):
        client.async_stream_infer("versioned", inputs()[:1])
    for _ in range(3):
        answers.get(timeout=10)
    client.stop_stream()
    rows = [r for r in gateway.export() if r["model"] == "versioned" and r["outcome"] == "refused"]
    assert len(rows) == 3


def test_a_stream_that_asked_for_statuses_ends_with_one(gateway, client):
    denied = {"authorization": f"Bearer {gateway.key('nosy', 'outside')}", "triton_grpc_error": "true"}
    answers: queue.Queue[tuple[object, InferenceServerException | None]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=denied)
    client.async_stream_infer("simple", inputs())
    _, error = answers.get(timeout=10)
    assert error.status() == "StatusCode.PERMISSION_DENIED"
    client.stop_stream()


def test_aio_calls_and_streams(gateway, headers):
    async def ask():
        async with triton_aio.InferenceServerClient(gateway.url) as client:
            assert await client.is_server_live()
            results = await asyncio.gather(
                *(client.infer("simple", inputs(triton_aio), headers=headers) for _ in range(20))
            )

            async def requests():
                for index in range(5):
                    yield {"model_name": "simple", "inputs": inputs(triton_aio), "request_id": str(index)}

            answers = client.stream_infer(requests(), headers=headers)
            streamed = [(result.get_response().id, error) async for result, error in answers]
            return results, streamed

    results, streamed = asyncio.run(ask())
    for result in results:
        np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), VALUES * 0)
    assert streamed == [(str(index), None) for index in range(5)]


def test_tensors_in_shared_memory(client, headers):
    name = f"gateway-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    memory = shared_memory.SharedMemory(name, create=True, size=512)
    try:
        memory.buf[:128] = VALUES.tobytes()
        client.register_system_shared_memory("in", name, 128, headers=headers)
        client.register_system_shared_memory("out", name, 256, offset=256, headers=headers)
        status = client.get_system_shared_memory_status(headers=headers)
        assert {(r.name, r.offset, r.byte_size) for r in status.regions.values()} == {("in", 0, 128), ("out", 256, 256)}
        tensors = inputs()
        for tensor in tensors:
            tensor.set_shared_memory("in", 128)
        wanted = triton.InferRequestedOutput("OUTPUT0")
        wanted.set_shared_memory("out", 128, offset=128)
        result = client.infer("simple", tensors, outputs=[wanted], headers=headers)
        assert result.get_response().raw_output_contents[0] == b""
        assert bytes(memory.buf[384:512]) == (VALUES * 2).tobytes()
        tensors[0].set_shared_memory("in", 129)
        with pytest.raises(InferenceServerException, match=r"Invalid offset \+ byte size for shared memory region"):
            client.infer("simple", tensors, headers=headers)
        with pytest.raises(InferenceServerException, match="shared memory region 'in' already in manager"):
            client.register_system_shared_memory("in", name, 128, headers=headers)
    finally:
        client.unregister_system_shared_memory(headers=headers)
        client.unregister_cuda_shared_memory(headers=headers)
        memory.close()
        memory.unlink()
    assert not client.get_system_shared_memory_status(headers=headers).regions
    with pytest.raises(InferenceServerException, match=f"Unable to open shared memory region: '{name}'"):
        client.register_system_shared_memory("in", name, 128, headers=headers)


def test_the_health_service_and_its_watch(gateway, headers):
    with grpc.insecure_channel(gateway.url) as channel:

        def stub(kind, method):
            return kind(
                f"/grpc.health.v1.Health/{method}",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )

        check = stub(channel.unary_unary, "Check")
        metadata = tuple(headers.items())
        assert check(HealthCheckRequest()).status == HealthCheckResponse.NOT_SERVING  # one model is broken
        assert check(HealthCheckRequest(service="simple"), metadata=metadata).status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            check(HealthCheckRequest(service="simple"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        watch = stub(channel.unary_stream, "Watch")(HealthCheckRequest(service="nobody"), metadata=metadata)
        assert next(watch).status == HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_grpcurl_needs_no_files(gateway, headers):
    grpcurl = tool("grpcurl")

    def curl(*words: str) -> str:
        key = f"authorization: {headers['authorization']}"
        command = [grpcurl, "-plaintext", "-H", key, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    assert "inference.GRPCInferenceService" in curl(gateway.url, "list")
    assert "message ModelInferRequest" in curl(gateway.url, "describe", "inference.ModelInferRequest")
    assert '"ready": true' in curl("-d", '{"name": "simple"}', gateway.url, "inference.GRPCInferenceService/ModelReady")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\x0a\xff", grpc.StatusCode.INTERNAL),
        (b"\xff" * 100, grpc.StatusCode.INTERNAL),
        (b"", grpc.StatusCode.NOT_FOUND),
    ],
)
def test_bytes_that_are_no_request_end_in_a_status(gateway, headers, body, code):
    with grpc.insecure_channel(gateway.url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(body, metadata=tuple(headers.items()))
    assert refused.value.code() is code


REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)  # policy may already find it too large


def test_shapes_that_lie_and_ten_thousand_inputs_are_refused(client, headers):
    shapes = ([2**40, 2**40], [-1, 2], [], [2**62, 4], [0, 2])
    for shape in shapes:
        request = service_pb2.ModelInferRequest(model_name="id_FP32", raw_input_contents=[bytes(16)])
        request.inputs.add(name="x", datatype="FP32", shape=shape)
        with pytest.raises(grpc.RpcError) as refused:
            client._client_stub.ModelInfer(request, metadata=tuple(headers.items()))
        assert refused.value.code() in REFUSED, shape
    many = service_pb2.ModelInferRequest(model_name="id_FP32", raw_input_contents=[bytes(8)] * 10_000)
    for index in range(10_000):
        many.inputs.add(name=f"x{index}", datatype="FP32", shape=[1, 2])
    with pytest.raises(grpc.RpcError) as refused:
        client._client_stub.ModelInfer(many, metadata=tuple(headers.items()))
    assert refused.value.code() in REFUSED
    assert len(refused.value.details()) < 8000
