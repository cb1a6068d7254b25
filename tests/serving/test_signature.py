"""Tensors against a signature: what fits becomes views, what does not is named."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidInput
from gateway.serving.datatypes import BYTES, DTYPES, join_elements, split_elements, to_raw
from gateway.serving.signature import ModelSignature, TensorSpec
from gateway.types import Tensor

ONE = ModelSignature("m", [TensorSpec("x", "FP32", (-1, 4))], [TensorSpec("y", "FP32", (-1, 4))], 8)
TWO = ModelSignature("m", [TensorSpec("a", "INT32", (-1, 2)), TensorSpec("b", "BYTES", (-1, 1))], [], 4)


def fp32(shape: tuple[int, ...], name: str = "x", data: bytes | None = None) -> Tensor:
    return Tensor(name=name, datatype="FP32", shape=shape, data=bytes(4 * math.prod(shape)) if data is None else data)


def refused(signature: ModelSignature, *tensors: Tensor) -> str:
    with pytest.raises(InvalidInput) as caught:
        signature.validate(tensors)
    return str(caught.value)


def test_arrays_view_the_bytes_that_came() -> None:
    data = np.arange(8, dtype=np.float32).tobytes()
    array = ONE.validate([fp32((2, 4), data=data)])["x"]
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    assert not array.flags.writeable
    assert array.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@given(st.sampled_from(sorted(set(DTYPES) - {BYTES, "BOOL"})), st.lists(st.integers(0, 4), max_size=3), st.data())
def test_every_number_survives_the_way_in_and_out(datatype: str, shape: list[int], data: st.DataObject) -> None:
    size = math.prod(shape) * DTYPES[datatype].itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    signature = ModelSignature("m", [TensorSpec("x", datatype, (-1,) * len(shape))], [])
    array = signature.validate([Tensor(name="x", datatype=datatype, shape=tuple(shape), data=raw)])["x"]
    assert array.shape == tuple(shape)
    assert to_raw(array, datatype) == raw


@given(st.lists(st.text(), max_size=5))
def test_every_text_survives_the_way_in_and_out(texts: list[str]) -> None:
    raw = join_elements(text.encode() for text in texts)
    signature = ModelSignature("m", [TensorSpec("x", BYTES, (-1,))], [])
    array = signature.validate([Tensor(name="x", datatype=BYTES, shape=(len(texts),), data=raw)])["x"]
    assert array.tolist() == texts
    assert to_raw(array, BYTES) == raw


@given(st.binary(max_size=40))
def test_splitting_elements_is_the_inverse_of_joining_or_says_where_it_fails(data: bytes) -> None:
    try:
        elements = list(split_elements(data))
    except ValueError:
        with pytest.raises(ValueError, match=r"element \d+"):
            list(split_elements(data))
    else:
        assert join_elements(elements) == data


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["INT32", "BYTES", "FP32", "NONSENSE", ""]),
            st.lists(st.integers(-2, 5), max_size=3),
            st.binary(max_size=24),
        ),
        max_size=3,
    )
)
def test_anything_at_all_is_either_valid_or_refused_in_words(raw: list[tuple[str, str, list[int], bytes]]) -> None:
    tensors = [Tensor(name=n, datatype=d, shape=tuple(s), data=b) for n, d, s, b in raw]
    try:
        arrays = TWO.validate(tensors)
    except InvalidInput:
        assert "the inputs do not fit model" not in refused(TWO, *tensors)
    else:
        assert set(arrays) == {"a", "b"}
        assert {len(array) for array in arrays.values()} == {tensors[0].shape[0]}


def test_an_unaligned_view_is_copied_for_the_runtime() -> None:
    data = memoryview(bytes(17))[1:]
    array = ONE.validate([Tensor(name="x", datatype="FP32", shape=(1, 4), data=data)])["x"]
    assert array.flags.aligned


def test_rows_count_only_where_the_model_batches() -> None:
    assert ONE.rows(ONE.validate([fp32((3, 4))])) == 3
    single = ModelSignature("m", [TensorSpec("x", "FP32", (-1, 4))], [])
    assert single.rows(single.validate([fp32((3, 4))])) == 1


def test_optional_inputs_may_stay_away() -> None:
    signature = ModelSignature("m", [TensorSpec("x", "FP32", (1,)), TensorSpec("o", "FP32", (1,), optional=True)], [])
    assert set(signature.validate([fp32((1,))])) == {"x"}
    assert "expected number of inputs between 1 and 2 but got 0" in refused(signature)


def test_a_reshape_gives_the_graph_its_own_shape() -> None:
    signature = ModelSignature("m", [TensorSpec("x", "FP32", (-1, 4), reshape=(-1, 2, 2))], [], 4)
    assert signature.validate([fp32((3, 4))])["x"].shape == (3, 2, 2)


def test_a_scalar_may_be_written_with_one_more_dimension() -> None:
    scalar = ModelSignature("m", [TensorSpec("x", "FP32", (), scalar=True)], [])
    assert scalar.validate([fp32((1,))])["x"].shape == ()
    assert scalar.validate([fp32(())])["x"].shape == ()
    rows = ModelSignature("m", [TensorSpec("x", "FP32", (-1,), scalar=True)], [], 4)
    assert rows.validate([fp32((3,))])["x"].shape == (3,)
    assert rows.validate([fp32((3, 1))])["x"].shape == (3,)
    assert "Expected [-1], got [3,2]" in refused(rows, fp32((3, 2)))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (fp32((1, 5)), "unexpected shape for input 'x' for model 'm'. Expected [-1,4], got [1,5]"),
        (fp32((-1, 4), data=b""), "Expected [-1,4], got [-1,4]"),
        (fp32((4,)), "Expected [-1,4], got [4]"),
        (fp32((9, 4)), "inference request batch-size must be <= 8 for 'm', got 9"),
        (fp32((), data=b""), "input 'x' has no batch dimension"),
        (fp32((1, 4), name="z"), "unexpected inference input 'z' for model 'm'"),
        (fp32((1, 4), data=b"123"), "input byte size mismatch for input 'x' for model 'm'. Expected 16, got 3"),
        (fp32((1, 4), data=bytes(20)), "Expected 16, got 20"),
        (
            Tensor(name="x", datatype="INT32", shape=(1, 4), data=bytes(16)),
            "inference input 'x' data-type is 'INT32', but model 'm' expects 'FP32'",
        ),
    ],
)
def test_what_does_not_fit_is_named(tensor: Tensor, words: str) -> None:
    assert words in refused(ONE, tensor)


def test_missing_and_surplus_inputs_are_listed() -> None:
    assert refused(TWO, fp32((1, 2), name="a")) == (
        "expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['a'], but missing required "
        "input(s) ['b']. Please provide all required input(s)."
    )
    assert "already exists in request" in refused(ONE, fp32((1, 4)), fp32((1, 4)))


def test_batches_must_agree() -> None:
    a = Tensor(name="a", datatype="INT32", shape=(2, 2), data=bytes(16))
    b = Tensor(name="b", datatype="BYTES", shape=(1, 1), data=join_elements([b"t"]))
    assert "input 'b' batch size does not match other inputs for 'm': got 1, expected 2" in refused(TWO, a, b)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (join_elements([b"t"]), "expected 2 string elements for inference input 'b' for model 'm', got 1"),
        (
            join_elements([b"t"] * 3),
            "unexpected number of string elements 3 for inference input 'b' for model 'm', expecting 2",
        ),
        (b"\x05\0\0\0abc", "incomplete string data for inference input 'b'"),
        (b"\x05\0", "element 0 has 2 of its 4 length bytes"),
        (join_elements([b"t", b"\xff"]), "string element 1 for inference input 'b' for model 'm' is not UTF-8"),
    ],
)
def test_texts_that_do_not_fit_are_named(data: bytes, words: str) -> None:
    a = Tensor(name="a", datatype="INT32", shape=(2, 2), data=bytes(16))
    assert words in refused(TWO, a, Tensor(name="b", datatype="BYTES", shape=(2, 1), data=data))


def test_a_bool_is_0_or_1() -> None:
    signature = ModelSignature("m", [TensorSpec("x", "BOOL", (2,))], [])
    good = signature.validate([Tensor(name="x", datatype="BOOL", shape=(2,), data=b"\0\1")])
    assert good["x"].tolist() == [False, True]
    bad = Tensor(name="x", datatype="BOOL", shape=(2,), data=b"\0\2")
    assert "holds a byte other than 0 and 1" in refused(signature, bad)


def test_a_dimension_that_no_array_can_have_is_named() -> None:
    free = ModelSignature("m", [TensorSpec("x", "FP32", (-1, -1))], [])
    assert "is too large" in refused(free, fp32((0, 2**63 - 1), data=b""))
    assert "Expected 147573952589676412912, got 0" in refused(free, fp32((2**63 - 1, 4), data=b""))


def test_the_tensor_that_is_wrong_is_named_not_a_good_one_beside_it() -> None:
    signature = ModelSignature("m", [TensorSpec("a", "BOOL", (2,)), TensorSpec("x", "FP32", (1,))], [])
    good = Tensor(name="a", datatype="BOOL", shape=(2,), data=b"\0\1")
    assert "input byte size mismatch for input 'x'" in refused(signature, good, fp32((1,), data=b"1"))


def test_a_refusal_is_short_however_long_the_names() -> None:
    assert len(refused(ONE, fp32((1, 4), name="x" * 100_000))) <= 1000


def test_one_small_input_costs_a_few_microseconds() -> None:
    tensors = (fp32((1, 4)),)
    best = min(_time(tensors) for _ in range(300))
    assert best < 4_000, f"{best} ns"


def _time(tensors: tuple[Tensor, ...]) -> float:
    started = time.perf_counter_ns()
    for _ in range(50):
        ONE.validate(tensors)
    return (time.perf_counter_ns() - started) / 50
