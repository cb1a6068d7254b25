"""A large tensor is copied once on its way in, when its message is put together, and once on its way out."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.cut import LARGE
from gateway.serving.datatypes import to_raw
from gateway.serving.signature import ModelSignature, TensorSpec
from gateway.types import Context, Credentials, Reply, ServableId, Tensor, TraceContext
from gateway.v1.inference import ModelInferRequest, ModelInferResponse

FLOATS = 2_500_000  # 10 MB
CONTEXT = Context(
    action=INFER,
    trace=TraceContext(trace_id="1" * 32, span_id="2" * 16),
    credentials=Credentials(),
    received_us=1,
    received_ns=1,
)
SIGNATURE = ModelSignature("m", [TensorSpec("x", "FP32", (-1,))], [])


def message(request_id: str, floats: int = FLOATS) -> bytes:
    values = np.arange(floats, dtype=np.float32).tobytes()
    request = ModelInferRequest(model_name="m", id=request_id, raw_input_contents=[values])
    request.inputs.add(name="x", datatype="FP32", shape=[floats])
    return request.SerializeToString()


@pytest.mark.parametrize("length", range(1, 5))
def test_the_model_sees_the_bytes_of_the_message_itself(length: int) -> None:
    body = message("i" * length)
    tracemalloc.start()
    call = decode_infer(body, CONTEXT)
    array = SIGNATURE.validate(call.inputs)["x"]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert call.inputs[0].data.obj is body
    assert array[[0, 1, -1]].tolist() == [0, 1, FLOATS - 1]
    whole = np.frombuffer(body, np.uint8)
    aligned = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    # The runtime wants numbers where the machine does; where the message has them elsewhere they are moved, once.
    if np.shares_memory(array, whole):
        assert aligned + FLOATS * 4 == len(body)
        assert most < 100_000
    else:
        assert 4 * FLOATS <= most < 4 * FLOATS + 100_000
    assert array.flags.aligned


def test_one_of_four_places_needs_no_move() -> None:
    moved = []
    for length in range(1, 5):
        body = message("i" * length, LARGE)
        array = SIGNATURE.validate(decode_infer(body, CONTEXT).inputs)["x"]
        moved.append(not np.shares_memory(array, np.frombuffer(body, np.uint8)))
    assert sorted(moved) == [False, True, True, True]


def test_an_answer_is_written_once() -> None:
    call = decode_infer(message("i", 1), CONTEXT)
    outputs = np.arange(FLOATS, dtype=np.float32)
    tracemalloc.start()
    tensor = Tensor(name="y", datatype="FP32", shape=outputs.shape, data=to_raw(outputs, "FP32"))
    answer = encode_reply(Reply(call=call, servable=ServableId("m", "1", ""), outputs=(tensor,)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < outputs.nbytes + 100_000
    assert ModelInferResponse.FromString(answer).raw_output_contents[0] == outputs.tobytes()


def test_a_strided_array_is_written_row_by_row() -> None:
    outputs = np.arange(2 * LARGE, dtype=np.float32).reshape(2, -1).T
    assert bytes(to_raw(outputs, "FP32")) == outputs.tobytes()
