"""An answer written by hand is the answer that protobuf would have written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.rpc.actions import INFER
from gateway.rpc.codec import encode_reply, response_of
from gateway.rpc.reply_bytes import reply_bytes, varint
from gateway.types import Call, Context, Credentials, ModelRef, Reply, ServableId, Tensor, TraceContext
from gateway.v1.inference import ModelInferResponse

CONTEXT = Context(
    action=INFER,
    trace=TraceContext(trace_id="1" * 32, span_id="1" * 16),
    credentials=Credentials(),
    received_us=0,
    received_ns=0,
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
DATA = st.binary(max_size=300) | st.binary(max_size=300).map(memoryview)
TENSOR = st.builds(
    lambda name, datatype, shape, data: Tensor(name=name, datatype=datatype, shape=tuple(shape), data=data),
    TEXT,
    st.sampled_from(["FP32", "INT64", "BYTES", ""]),
    st.lists(st.integers(0, 2**40), max_size=4),
    DATA,
)


def reply(model: str, version: str, request_id: str, outputs: list[Tensor]) -> Reply:
    call = Call(context=CONTEXT, model=ModelRef(model), request_id=request_id)
    return Reply(call=call, servable=ServableId(model, version, ""), outputs=tuple(outputs))


@given(TEXT, TEXT, TEXT, st.lists(TENSOR, max_size=4))
def test_it_parses_as_the_message_that_protobuf_makes(
    model: str, version: str, request_id: str, outputs: list[Tensor]
) -> None:
    made = reply(model, version, request_id, outputs)
    assert ModelInferResponse.FromString(reply_bytes(made)) == response_of(made)


@given(st.integers(0, 2**63))
def test_varints_are_protobufs(number: int) -> None:
    value, shift = 0, 0
    digits = varint(number)
    for digit in digits:
        value |= (digit & 0x7F) << shift
        shift += 7
    assert value == number
    assert [digit >> 7 for digit in digits] == [1] * (len(digits) - 1) + [0]


def test_large_data_is_whole() -> None:
    large = Tensor(name="y", datatype="UINT8", shape=(3_000_000,), data=bytes(range(256)) * 11719)
    made = reply("m", "1", "id", [large])
    assert ModelInferResponse.FromString(encode_reply(made)).raw_output_contents[0] == large.data
