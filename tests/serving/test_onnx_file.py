"""What the walk over a model's bytes finds, and that nothing makes it fail in any other way than NotOnnx."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from serving_graphs import FLOAT, external, identity, model, scale, tensor

from gateway.serving.onnx_file import NotOnnx, inspect


def test_operators_opsets_and_version_are_found() -> None:
    found = inspect(scale(2))
    assert found.operators == {("", "Mul")}
    assert found.opsets == {"": 17}
    assert found.ir_version == 9
    assert found.external == set()


def test_external_weights_are_found() -> None:
    assert inspect(external("w.bin")).external == {"w.bin"}


def test_operators_inside_branches_are_found() -> None:
    out = tensor("b", FLOAT, [1])
    then = helper.make_graph([helper.make_node("Sin", ["x"], ["b"])], "t", [], [out])
    other = helper.make_graph([helper.make_node("Cos", ["x"], ["b"])], "e", [], [out])
    node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    data = model([node], [tensor("c", onnx.TensorProto.BOOL, []), tensor("x", FLOAT, [1])], [tensor("y", FLOAT, [1])])
    assert {name for _, name in inspect(data).operators} == {"If", "Sin", "Cos"}


@pytest.mark.parametrize("size", [0, 1, 10, 50, 75])
def test_a_file_cut_short_is_not_onnx(size: int) -> None:
    with pytest.raises(NotOnnx):
        inspect(scale(2)[:size])


def test_text_is_not_onnx() -> None:
    with pytest.raises(NotOnnx):
        inspect(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_not_onnx(data: bytes) -> None:
    try:
        inspect(data)
    except NotOnnx:
        return


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_a_model_or_not_onnx(place: int, value: int) -> None:
    data = bytearray(identity())
    data[place % len(data)] = value
    try:
        inspect(bytes(data))
    except NotOnnx:
        return
