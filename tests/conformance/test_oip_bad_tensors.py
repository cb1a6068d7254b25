"""Tensors that cannot be served, as messages that no client library builds: each gets its status and its record."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import grpc
import pytest
from oip_world import world
from running import Running

from gateway.v1.inference import ModelInferRequest, ModelInferResponse

pytestmark = pytest.mark.slow

METHOD = "/inference.GRPCInferenceService/ModelInfer"
ROW = struct.pack("<2f", 1.0, 2.0)
NAN = bytes.fromhex("0100c07fffffffff")  # a quiet NaN with a payload, and a negative one
Tensor = tuple[str, list[int], bytes]
BAD: dict[str, list[Tensor]] = {
    "no inputs": [],
    "an input twice": [("x", [1, 2], ROW), ("x", [1, 2], ROW)],
    "ten thousand inputs": [(f"x{number}", [1, 2], ROW) for number in range(10_000)],
    "a shape whose product overflows": [("x", [2**62, 2**62], ROW)],
    "a shape that overflows to what came": [("x", [2**63 - 1, 2], ROW)],
    "a negative dimension": [("x", [-1, 2], ROW)],
    "no dimensions": [("x", [], ROW)],
    "a thousand dimensions": [("x", [1] * 998 + [1, 2], ROW)],
    "too few bytes": [("x", [1, 2], ROW[:-1])],
    "too many bytes": [("x", [1, 2], ROW + b"\0")],
    "a megabyte of name": [("x" * 1_000_000, [1, 2], ROW)],
}


@pytest.fixture(scope="module", params=["h2", "grpcio"])
def gateway(request, tmp_path_factory) -> Iterator[Running]:
    with world(tmp_path_factory.mktemp("bad"), request.param) as running:
        yield running


@pytest.fixture(scope="module")
def infer(gateway):
    metadata = (("authorization", f"Bearer {gateway.key('tester', 'lab')}"),)
    with grpc.insecure_channel(gateway.url) as channel:
        call = channel.unary_unary(METHOD, ModelInferRequest.SerializeToString, ModelInferResponse.FromString)
        yield lambda tensors: call(request(tensors), metadata=metadata, timeout=60)


def request(tensors: list[Tensor]) -> ModelInferRequest:
    made = ModelInferRequest(model_name="id_FP32")
    for name, shape, data in tensors:
        made.inputs.add(name=name, datatype="FP32", shape=shape)
        made.raw_input_contents.append(data)
    return made


def test_each_is_refused_and_recorded_and_the_worker_lives(gateway, infer) -> None:
    worker = gateway.child("gateway: worker 0").pid
    for what, tensors in BAD.items():
        with pytest.raises(grpc.RpcError) as refused:
            infer(tensors)
        if refused.value.details() == "denied by policy: batch":  # the decision comes before the tensors' proof
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED, what
            continue
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, what
        assert "input" in refused.value.details(), what
    assert infer([("x", [1, 2], ROW)]).raw_output_contents[0] == ROW
    assert gateway.child("gateway: worker 0").pid == worker
    rows = [row for row in gateway.export() if row["model"] == "id_FP32"]
    codes = [row["code"] for row in rows]
    assert len(codes) - codes.count("OK") == len(BAD)
    assert codes.count("INVALID_ARGUMENT") >= len(BAD) - 3


def test_what_is_not_a_number_passes_bit_for_bit(infer) -> None:
    assert infer([("x", [1, 2], NAN)]).raw_output_contents[0] == NAN
