"""Whatever bytes come: a call, or Unparsable. Never another error, never memory beyond the message's own."""

from __future__ import annotations

import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import GatewayError, Unparsable
from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.serving.signature import ModelSignature
from gateway.serving.spec import TensorSpec
from gateway.types import Call, Context, Credentials, Reply, ServableId, Tensor, TraceContext
from gateway.v1.inference import InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse

CONTEXT = Context(
    action=INFER,
    trace=TraceContext(trace_id="1" * 32, span_id="2" * 16),
    credentials=Credentials(),
    received_us=1,
    received_ns=1,
)
Input = ModelInferRequest.InferInputTensor
int64s = st.integers(-(2**63), 2**63 - 1)
names = st.text(max_size=6)
parameters = st.dictionaries(
    st.sampled_from(["shared_memory_region", "shared_memory_byte_size", "priority", "timeout", "triton_x", "mine"]),
    st.one_of(
        st.builds(InferParameter, bool_param=st.booleans()),
        st.builds(InferParameter, int64_param=int64s),
        st.builds(InferParameter, string_param=names),
        st.builds(InferParameter, double_param=st.floats()),
        st.builds(InferParameter, uint64_param=st.integers(0, 2**64 - 1)),
        st.builds(InferParameter),
    ),
    max_size=3,
)
contents = st.builds(
    InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=2),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2),
    uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=2),
    fp32_contents=st.lists(st.floats(width=32), max_size=2),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
)
datatypes = st.sampled_from(["BOOL", "UINT8", "INT8", "INT16", "INT32", "UINT64", "FP16", "FP32", "BYTES", "", "X"])
inputs = st.builds(
    Input,
    name=names,
    datatype=datatypes,
    shape=st.lists(int64s, max_size=4),
    parameters=parameters,
    contents=st.none() | contents,
)
requests = st.builds(
    ModelInferRequest,
    model_name=names,
    model_version=names,
    id=names,
    parameters=parameters,
    inputs=st.lists(inputs, max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=16), max_size=4),
    outputs=st.lists(
        st.builds(ModelInferRequest.InferRequestedOutputTensor, name=names, parameters=parameters), max_size=2
    ),
)


def decoded(body: bytes) -> Call | None:
    try:
        return decode_infer(body, CONTEXT)
    except Unparsable:
        return None


@given(st.binary(max_size=300))
@example(b"\x0a\xff\xff\xff\xff\x0f")  # a length of 4 GiB
@example(b"\x3a\x80\x80\x80\x80\x10")
@example(b"\x2a\x02\x1a\xff")
@example(b"\x0a\x02\xff\xfe")  # a name that is no UTF-8
def test_any_bytes_are_a_call_or_unparsable(body):
    call = decoded(body)
    assert call is None or call.defect is None or isinstance(call.defect, GatewayError)


@given(requests, st.data())
def test_any_request_cut_or_changed_anywhere(request, data):
    body = bytearray(request.SerializeToString())
    if body:
        place = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            del body[place:]
        else:
            body[place] = data.draw(st.integers(0, 255))
    decoded(bytes(body))


@given(requests)
def test_a_request_says_what_it_says(request):
    call = decoded(request.SerializeToString())
    assert (call.model.name, call.model.version, call.request_id) == (
        request.model_name,
        request.model_version,
        request.id,
    )
    assert [(t.name, t.datatype, t.shape) for t in call.inputs] == [
        (i.name, i.datatype, tuple(i.shape)) for i in request.inputs
    ]
    assert [o.name for o in call.outputs] == [o.name for o in request.outputs]
    assert call.defect is None or isinstance(call.defect, GatewayError)


@given(requests)
def test_a_signature_takes_what_is_decoded_or_says_why_not(request):
    call = decoded(request.SerializeToString())
    signature = ModelSignature("m", [TensorSpec("x", "FP32", (-1, 2))], [TensorSpec("y", "FP32", (-1, 2))], 8)
    said = ""
    try:
        if call.defect is None:
            signature.validate(call.inputs)
    except GatewayError as error:
        said = str(error)
    assert len(said) <= 1100


@given(st.lists(st.tuples(names, st.lists(st.integers(0, 3), max_size=3), st.binary(max_size=8)), max_size=3), names)
def test_a_reply_reads_back_as_it_was(outputs, request_id):
    call = Call(context=CONTEXT, model=None, request_id=request_id)
    tensors = tuple(Tensor(name=n, datatype="UINT8", shape=tuple(s), data=memoryview(d)) for n, s, d in outputs)
    body = encode_reply(Reply(call=call, servable=ServableId("m", "3", ""), outputs=tensors))
    response = ModelInferResponse.FromString(body)
    assert response.id == request_id
    assert [(o.name, list(o.shape)) for o in response.outputs] == [(n, s) for n, s, _ in outputs]
    assert list(response.raw_output_contents) == [d for _, _, d in outputs]


def test_a_length_that_lies_takes_no_memory():
    tracemalloc.start()
    try:
        for lie in (b"\x3a\xff\xff\xff\xff\x0f", b"\x2a\xff\xff\xff\xff\x07" + b"x" * 1000):
            assert decoded(lie) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
