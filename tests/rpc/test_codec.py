"""Requests become calls: data in every form, and defects that wait for the decision."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.errors import InvalidInput, Unparsable, Unsupported
from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.types import Context, Credentials, Reply, ServableId, Tensor, TraceContext
from gateway.v1.inference import InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse

CONTEXT = Context(
    action=INFER,
    trace=TraceContext(trace_id="1" * 32, span_id="2" * 16),
    credentials=Credentials(),
    received_us=1,
    received_ns=1,
)
Input = ModelInferRequest.InferInputTensor


def decode(request: ModelInferRequest):
    return decode_infer(request.SerializeToString(), CONTEXT)


def typed(datatype: str, **lists) -> ModelInferRequest:
    contents = InferTensorContents(**lists)
    return ModelInferRequest(model_name="m", inputs=[Input(name="x", datatype=datatype, shape=[2], contents=contents)])


def test_raw_inputs_keep_their_bytes_in_order():
    request = ModelInferRequest(model_name="m", model_version="3", id="r1", raw_input_contents=[b"abcd", b"ef"])
    request.inputs.add(name="x", datatype="UINT8", shape=[4])
    request.inputs.add(name="y", datatype="UINT8", shape=[1, 2])
    call = decode(request)
    assert call.defect is None
    assert [(t.name, t.shape, bytes(t.data), t.source) for t in call.inputs] == [
        ("x", (4,), b"abcd", "raw"),
        ("y", (1, 2), b"ef", "raw"),
    ]
    assert (str(call.model), call.request_id) == ("m:3", "r1")


@pytest.mark.parametrize(
    ("datatype", "field", "values", "dtype"),
    [
        ("BOOL", "bool_contents", [True, False], "?"),
        ("UINT8", "uint_contents", [0, 255], "<u1"),
        ("UINT16", "uint_contents", [0, 65535], "<u2"),
        ("UINT32", "uint_contents", [0, 2**32 - 1], "<u4"),
        ("UINT64", "uint64_contents", [0, 2**64 - 1], "<u8"),
        ("INT8", "int_contents", [-128, 127], "<i1"),
        ("INT16", "int_contents", [-32768, 32767], "<i2"),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1], "<i4"),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1], "<i8"),
        ("FP32", "fp32_contents", [1.5, float("nan")], "<f4"),
        ("FP64", "fp64_contents", [1.5, float("-inf")], "<f8"),
    ],
)
def test_typed_contents_become_raw(datatype, field, values, dtype):
    call = decode(typed(datatype, **{field: values}))
    assert call.defect is None
    assert bytes(call.inputs[0].data) == np.array(values, dtype).tobytes()
    assert call.inputs[0].source == "typed"


def test_typed_bytes_are_length_prefixed():
    call = decode(typed("BYTES", bytes_contents=[b"ab", b""]))
    assert bytes(call.inputs[0].data) == b"\x02\0\0\0ab\0\0\0\0"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (typed("INT8", int_contents=[1, 128]), "out of the range of INT8"),
        (typed("UINT16", uint_contents=[65536]), "out of the range of UINT16"),
        (typed("FP32", int_contents=[1]), "came in int_contents, expected fp32_contents"),
        (typed("FP32", fp32_contents=[1], int_contents=[1]), "came in int_contents, fp32_contents"),
        (typed("FP16", fp32_contents=[1]), "expected raw_input_contents"),
        (typed("FLOAT", fp32_contents=[1]), "expected raw_input_contents"),
        (ModelInferRequest(model_name="m", inputs=[Input(name="x", datatype="FP32", shape=[1])]), "no data"),
    ],
)
def test_defects_name_the_input_and_wait(request_, text):
    call = decode(request_)
    assert isinstance(call.defect, InvalidInput)
    assert text in str(call.defect)
    assert "'x'" in str(call.defect)
    assert [t.name for t in call.inputs] == ["x"]


def test_typed_data_beside_raw_is_refused_in_the_known_words():
    request = typed("INT32", int_contents=[1, 2])
    request.raw_input_contents.append(b"12345678")
    assert str(decode(request).defect) == (
        "contents field must not be specified when using raw_input_contents for 'x' for model 'm'"
    )


def test_an_empty_contents_beside_raw_means_absent():
    request = typed("INT32")
    request.raw_input_contents.append(b"12345678")
    call = decode(request)
    assert call.defect is None
    assert bytes(call.inputs[0].data) == b"12345678"


def test_too_few_raw_entries_are_named():
    request = ModelInferRequest(model_name="m", raw_input_contents=[b"a"])
    request.inputs.add(name="x", datatype="UINT8", shape=[1])
    request.inputs.add(name="y", datatype="UINT8", shape=[1])
    assert "no data for input 'y'" in str(decode(request).defect)


@pytest.mark.parametrize(("name", "dimensions"), [("x", 256), ("ü" * 16_384, 1)])
def test_what_no_record_could_commit_to_is_a_defect(name, dimensions):
    request = ModelInferRequest(model_name="m", raw_input_contents=[b"a"])
    request.inputs.add(name=name, datatype="UINT8", shape=[1] * dimensions)
    defect = decode(request).defect
    assert isinstance(defect, InvalidInput)
    assert f"{dimensions} dimensions" in str(defect)
    assert len(str(defect)) < 300


def test_surplus_raw_entries_are_ignored():
    request = ModelInferRequest(model_name="m", raw_input_contents=[b"a", b"b"])
    request.inputs.add(name="x", datatype="UINT8", shape=[1])
    call = decode(request)
    assert call.defect is None
    assert len(call.inputs) == 1


def test_shared_memory_without_the_switch_is_unsupported_and_takes_no_raw_entry():
    request = ModelInferRequest(model_name="m", raw_input_contents=[b"a"])
    shm = request.inputs.add(name="x", datatype="UINT8", shape=[1])
    shm.parameters["shared_memory_region"].string_param = "r"
    shm.parameters["shared_memory_byte_size"].int64_param = 1
    request.inputs.add(name="y", datatype="UINT8", shape=[1])
    call = decode(request)
    assert isinstance(call.defect, Unsupported)
    assert [(t.source, bytes(t.data)) for t in call.inputs] == [("shared_memory", b""), ("raw", b"a")]


@pytest.mark.parametrize(
    ("name", "parameter", "text"),
    [
        ("triton_x", InferParameter(int64_param=1), "reserved for Triton usage"),
        ("priority", InferParameter(int64_param=-1), "expected 0"),
        ("timeout", InferParameter(string_param="1"), "expected int64_param"),
        ("mine", InferParameter(uint64_param=1), "came as uint64_param"),
        ("mine", InferParameter(), "no known kind"),
    ],
)
def test_parameters_of_a_wrong_kind_are_defects(name, parameter, text):
    request = ModelInferRequest(model_name="m")
    request.parameters[name].CopyFrom(parameter)
    assert text in str(decode(request).defect)


def test_parameters_arrive_as_plain_values():
    request = ModelInferRequest(model_name="m")
    request.parameters["priority"].uint64_param = 3
    request.parameters["a"].string_param = "x"
    request.parameters["b"].bool_param = False
    request.parameters["c"].double_param = 0.5
    assert decode(request).parameters == {"priority": 3, "a": "x", "b": False, "c": 0.5}


def test_requested_outputs_carry_classification():
    request = ModelInferRequest(model_name="m")
    request.outputs.add(name="y").parameters["classification"].int64_param = 3
    request.outputs.add(name="z")
    assert [(o.name, o.classification) for o in decode(request).outputs] == [("y", 3), ("z", 0)]


def test_bytes_that_are_no_request_are_unparsable():
    with pytest.raises(Unparsable, match="ModelInferRequest"):
        decode_infer(b"\xff\xff\xff", CONTEXT)


def test_a_reply_is_raw_in_order_with_the_id_echoed():
    call = decode(ModelInferRequest(model_name="m", id="r1"))
    outputs = (
        Tensor(name="b", datatype="UINT8", shape=(2,), data=b"ab"),
        Tensor(name="a", datatype="UINT8", shape=(0,), data=memoryview(b"")),
    )
    reply = Reply(call=call, servable=ServableId("m", "3", "sha256:0"), outputs=outputs)
    response = ModelInferResponse.FromString(encode_reply(reply))
    assert [(o.name, list(o.shape)) for o in response.outputs] == [("b", [2]), ("a", [0])]
    assert list(response.raw_output_contents) == [b"ab", b""]
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "r1")
