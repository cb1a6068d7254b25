"""Programs written for Triton, unchanged: tritonclient 2.73 against both transports, whole protocol."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from oip_world import DATATYPES, world
from running import Running
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    "BYTES": np.object_,
}


@pytest.fixture(scope="module", params=["h2", "grpcio"])
def gateway(request, tmp_path_factory) -> Iterator[Running]:
    with world(tmp_path_factory.mktemp("oip"), request.param) as running:
        yield running


@pytest.fixture(scope="module")
def headers(gateway):
    return {"authorization": f"Bearer {gateway.key('tester', 'lab')}"}


@pytest.fixture
def client(gateway):
    with triton.InferenceServerClient(gateway.url) as client:
        yield client


def tensor(name: str, values: np.ndarray, datatype: str) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def pair(rows: int = 1) -> list[triton.InferInput]:
    values = np.arange(rows * 16, dtype=np.int32).reshape(rows, 16)
    return [tensor("INPUT0", values, "INT32"), tensor("INPUT1", np.ones_like(values), "INT32")]


def refused(call, *arguments, **options) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as error:
        call(*arguments, **options)
    return error.value.status(), error.value.message()


def test_health_answers_without_a_credential_but_models_do_not(client, headers):
    assert client.is_server_live()
    assert client.is_server_ready() is False  # one model is broken
    assert client.is_model_ready("simple", headers=headers)
    assert client.is_model_ready("simple", "1", headers=headers)
    assert not client.is_model_ready("simple", "7", headers=headers)
    assert not client.is_model_ready("broken", headers=headers)
    assert not client.is_model_ready("nobody", headers=headers)
    assert refused(client.is_model_ready, "simple")[0] == "StatusCode.UNAUTHENTICATED"


def test_metadata_and_configuration_agree(client, headers):
    server = client.get_server_metadata(headers=headers)
    assert server.name == "triton"
    assert {"statistics", "system_shared_memory", "classification"} <= set(server.extensions)
    model = client.get_model_metadata("simple", headers=headers)
    config = client.get_model_config("simple", headers=headers).config
    assert [t.name for t in model.inputs] == [t.name for t in config.input] == ["INPUT0", "INPUT1"]
    assert [t.name for t in model.outputs] == [t.name for t in config.output] == ["OUTPUT0", "OUTPUT1"]
    assert list(model.inputs[0].shape) == [-1, *config.input[0].dims] == [-1, 16]
    assert (model.platform, config.platform, config.max_batch_size) == ("onnxruntime_onnx", "onnxruntime_onnx", 8)
    assert list(config.dynamic_batching.preferred_batch_size) == [8]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_there_and_back(client, headers, datatype):
    if datatype == "BYTES":
        values = np.array([["a", ""], ["längér", "z" * 1000]], dtype=object)
    else:
        values = np.array([[0, 1], [1, 3]]).astype(NUMPY[datatype])
    result = client.infer(f"id_{datatype}", [tensor("x", values, datatype)], headers=headers)
    returned = result.as_numpy("y")
    if datatype == "BYTES":
        returned = np.array([[e.decode() for e in row] for row in returned], dtype=object)
    np.testing.assert_array_equal(returned, values)
    assert result.get_response().outputs[0].datatype == datatype


def test_outputs_subsets_ids_and_order(client, headers):
    wanted = [triton.InferRequestedOutput("OUTPUT1"), triton.InferRequestedOutput("OUTPUT0")]
    result = client.infer("simple", pair(2), outputs=wanted, request_id="r-1", headers=headers)
    assert [o.name for o in result.get_response().outputs] == ["OUTPUT0", "OUTPUT1"]
    assert (result.get_response().id, result.get_response().model_version) == ("r-1", "1")
    only = client.infer("simple", pair(), outputs=wanted[:1], headers=headers)
    assert [o.name for o in only.get_response().outputs] == ["OUTPUT1"]
    assert only.get_response().id == ""
    assert only.as_numpy("OUTPUT0") is None


def test_classification(client, headers):
    values = np.array([[3.0, 1.0], [0.0, 2.0]], dtype=np.float32)
    wanted = [triton.InferRequestedOutput("y", class_count=1)]
    result = client.infer("id_FP32", [tensor("x", values, "FP32")], outputs=wanted, headers=headers)
    assert result.as_numpy("y").tolist() == [[b"3.000000:0"], [b"2.000000:1"]]


def test_versions_and_labels(client, headers):
    values = np.array([[1.0, 2.0]], dtype=np.float32)

    def ask(version: str):
        result = client.infer("versioned", [tensor("x", values, "FP32")], model_version=version, headers=headers)
        return result.get_response().model_version, result.as_numpy("y")[0, 0]

    assert (ask(""), ask("1"), ask("2"), ask("stable")) == (("2", -1.0), ("1", 1.0), ("2", -1.0), ("1", 1.0))
    assert list(client.get_model_metadata("versioned", headers=headers).versions) == ["1", "2"]


def test_reserved_parameters_pass_and_priority_comes_unsigned(client, headers):
    result = client.infer("simple", pair(), priority=1, timeout=100, parameters={"mine": "x"}, headers=headers)
    assert result.as_numpy("OUTPUT0") is not None


def test_errors_have_the_codes_and_texts_that_tests_match(client, headers):
    infer = client.infer
    assert refused(infer, "nobody", pair(), headers=headers) == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'nobody' is not found",
    )
    assert refused(infer, "simple", pair(), model_version="9", headers=headers) == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'simple' version 9 is not found",
    )
    status, text = refused(infer, "simple", pair()[:1], headers=headers)
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing" in text
    wanted = [triton.InferRequestedOutput("OUTPUT9")]
    status, text = refused(infer, "simple", pair(), outputs=wanted, headers=headers)
    assert (status, text[:50]) == ("StatusCode.INVALID_ARGUMENT", "unexpected inference output 'OUTPUT9' for model 's")
    twice = [triton.InferRequestedOutput("OUTPUT0"), triton.InferRequestedOutput("OUTPUT0")]
    assert "output 'OUTPUT0' already exists in request" in refused(
        infer, "simple", pair(), outputs=twice, headers=headers
    )
    assert refused(infer, "simple", pair(9), headers=headers)[0] == "StatusCode.INVALID_ARGUMENT"
    assert refused(infer, "simple", pair())[0] == "StatusCode.UNAUTHENTICATED"


def test_typed_contents_beside_raw_are_refused_in_triton_s_words(client, headers):
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name="id_INT32", raw_input_contents=[b"\0" * 8])
    request.inputs.add(name="x", datatype="INT32", shape=[1, 2]).contents.int_contents.extend([1, 2])
    with pytest.raises(Exception, match="contents field must not be specified when using raw_input_contents for 'x'"):
        client._client_stub.ModelInfer(request, metadata=tuple(headers.items()))


def test_typed_contents_are_answered_raw(client, headers):
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name="id_INT32")
    request.inputs.add(name="x", datatype="INT32", shape=[1, 2]).contents.int_contents.extend([1, -2])
    reply = client._client_stub.ModelInfer(request, metadata=tuple(headers.items()))
    assert list(reply.raw_output_contents) == [np.array([1, -2], "<i4").tobytes()]


def test_denied_tenants_get_a_reason_and_no_retry(gateway, client):
    denied = {"authorization": f"Bearer {gateway.key('nosy', 'outside')}"}
    status, text = refused(client.infer, "simple", pair(), headers=denied)
    assert status == "StatusCode.PERMISSION_DENIED"
    assert text.startswith("denied by policy: ")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_messages(client, headers, algorithm):
    values = np.zeros((8, 16), dtype=np.int32)
    inputs = [tensor("INPUT0", values, "INT32"), tensor("INPUT1", values, "INT32")]
    result = client.infer("simple", inputs, headers=headers, compression_algorithm=algorithm)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), values)


def test_the_index_shows_states_and_reasons(client, headers):
    rows = {(m.name, m.version): m for m in client.get_model_repository_index(headers=headers).models}
    assert rows["simple", "1"].state == rows["versioned", "2"].state == "READY"
    (broken,) = [m for (name, _), m in rows.items() if name == "broken"]
    assert broken.state == "UNAVAILABLE"
    assert "model.onnx" in broken.reason


def test_statistics_count_what_was_answered(client, headers):
    def counts():
        (row,) = client.get_inference_statistics("simple", "1", headers=headers).model_stats
        return row

    before = counts()
    for _ in range(3):
        client.infer("simple", pair(2), headers=headers)
    refused(client.infer, "simple", pair()[:1], headers=headers)
    after = counts()
    assert after.inference_count - before.inference_count == 6
    assert after.execution_count - before.execution_count == 3
    assert after.inference_stats.success.count - before.inference_stats.success.count == 3
    assert after.inference_stats.queue.count == after.inference_stats.success.count
    assert after.inference_stats.fail.count == before.inference_stats.fail.count
    assert sum(b.compute_infer.count for b in after.batch_stats) == after.execution_count
    assert {r.name for r in client.get_inference_statistics(headers=headers).model_stats} >= {"simple", "id_FP32"}


def test_async_calls_complete(client, headers):
    found: queue.Queue[object] = queue.Queue()
    for _ in range(8):
        client.async_infer("simple", pair(), lambda result, error: found.put(error or result), headers=headers)
    assert all(isinstance(found.get(timeout=10), triton.InferResult) for _ in range(8))
