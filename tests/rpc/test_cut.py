"""What is cut out and what is left are the message; nothing is copied, nothing malformed is judged here."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from gateway.rpc.cut import LARGE, cut
from gateway.v1.inference import ModelInferRequest

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
RAWS = st.lists(st.binary(max_size=300), max_size=4)


@given(TEXT, TEXT, RAWS, RAWS, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3))
def test_the_parts_are_the_whole(model: str, name: str, raws: list[bytes], more: list[bytes], shape: list[int]) -> None:
    first = ModelInferRequest(model_name=model, id=name, raw_input_contents=raws)
    first.inputs.add(name=name, datatype="FP32", shape=shape)
    first.parameters["timeout"].int64_param = 7
    # Fields again after the raw data: a message may come in pieces that are merged.
    second = ModelInferRequest(model_version=name, raw_input_contents=more)
    body = first.SerializeToString() + second.SerializeToString()
    rest, views = cut(body)
    assert [bytes(view) for view in views] == raws + more
    left = ModelInferRequest.FromString(rest)
    assert not left.raw_input_contents
    left.raw_input_contents.extend(bytes(view) for view in views)
    assert left == ModelInferRequest.FromString(body)


@given(st.binary(max_size=400))
def test_any_bytes_mean_what_protobuf_says(body: bytes) -> None:
    rest, views = cut(body)
    try:
        whole = ModelInferRequest.FromString(body)
    except DecodeError:
        assert _refused(rest)
        return
    left = ModelInferRequest.FromString(rest)
    left.raw_input_contents.extend(bytes(view) for view in views)
    assert left == whole


def test_a_view_is_of_the_message_itself() -> None:
    tensor = bytes(LARGE)
    body = ModelInferRequest(model_name="m", raw_input_contents=[tensor]).SerializeToString()
    rest, (view,) = cut(body)
    assert view.obj is body
    assert len(rest) < 10


def test_very_many_fields_are_left_to_protobuf() -> None:
    body = ModelInferRequest(raw_input_contents=[b"x"] * 2_000).SerializeToString()
    assert cut(body) == (body, [])


def _refused(body: bytes) -> bool:
    try:
        ModelInferRequest.FromString(body)
    except DecodeError:
        return True
    return False
