"""Masks: what a policy hides is in no byte of what leaves."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.masking import mask_defect, masked, masked_names
from gateway.serving.datatypes import DTYPES, join_elements, split_elements
from gateway.serving.spec import TensorSpec
from gateway.types import OutputRequest, Tensor

KEY = b"k" * 32
SHAPE = st.lists(st.integers(0, 4), max_size=3).map(tuple)
FIXED = sorted(set(DTYPES) - {"BYTES"})


@st.composite
def tensors(draw: st.DrawFn, name: str, datatypes: list[str] | None = None) -> Tensor:
    """A well-formed tensor of any datatype and shape."""
    datatype = draw(st.sampled_from(datatypes or sorted(DTYPES)))
    shape = draw(SHAPE)
    if datatype == "BYTES":
        elements = draw(st.lists(st.binary(max_size=40), min_size=prod(shape), max_size=prod(shape)))
        data: bytes | memoryview = join_elements(elements)
    else:
        size = prod(shape) * DTYPES[datatype].itemsize
        data = draw(st.binary(min_size=size, max_size=size))
    as_view = draw(st.booleans())
    return Tensor(name=name, datatype=datatype, shape=shape, data=memoryview(data) if as_view else data)


@given(tensors("a"), tensors("b"), st.sampled_from(["drop", "zero"]))
def test_a_masked_output_has_no_trace_of_its_values(hidden: Tensor, shown: Tensor, how: str) -> None:
    result = masked((hidden, shown), {"a": how}, KEY)
    assert result[-1] is shown
    if how == "drop":
        assert result == (shown,)
        return
    zeroed = result[0]
    assert (zeroed.name, zeroed.datatype, zeroed.shape) == (hidden.name, hidden.datatype, hidden.shape)
    assert not any(bytes(zeroed.data))
    if hidden.datatype == "BYTES":
        assert list(split_elements(zeroed.data)) == [b""] * prod(hidden.shape)
    else:
        assert len(zeroed.data) == len(hidden.data)


@given(tensors("a", ["BYTES"]), tensors("a", ["BYTES"]))
def test_what_leaves_zeroed_depends_on_the_shape_alone(one: Tensor, other: Tensor) -> None:
    alike = Tensor(name="a", datatype="BYTES", shape=one.shape, data=join_elements([b"x"] * prod(one.shape)))
    assert masked((one,), {"a": "zero"}, KEY) == masked((alike,), {"a": "zero"}, KEY)
    assert (masked((one,), {"a": "zero"}, KEY) == masked((other,), {"a": "zero"}, KEY)) is (one.shape == other.shape)


@given(tensors("a", ["BYTES"]))
def test_hashes_keep_equality_and_nothing_else(tensor: Tensor) -> None:
    (hashed,) = masked((tensor,), {"a": "hash"}, KEY)
    before, after = list(split_elements(tensor.data)), list(split_elements(hashed.data))
    assert (hashed.datatype, hashed.shape, len(after)) == ("BYTES", tensor.shape, len(before))
    assert {len(h) for h in after} <= {32}
    for one, h_one in zip(before, after, strict=True):
        for other, h_other in zip(before, after, strict=True):
            assert (one == other) is (h_one == h_other)
    (elsewhere,) = masked((tensor,), {"a": "hash"}, b"another key")
    assert not set(after) & set(split_elements(elsewhere.data))


@given(st.lists(st.binary(min_size=6, max_size=40), min_size=1, max_size=5))
def test_no_hidden_string_is_in_what_leaves(strings: list[bytes]) -> None:
    tensor = Tensor(name="a", datatype="BYTES", shape=(len(strings),), data=join_elements(strings))
    for how in ("drop", "zero", "hash"):
        leaving = b"".join(bytes(t.data) for t in masked((tensor,), {"a": how}, KEY))
        assert not [s for s in strings if any(s) and s in leaving]


@pytest.mark.parametrize("datatype", FIXED)
def test_zero_is_the_number_zero_in_every_datatype(datatype: str) -> None:
    values = np.arange(1, 7).astype(DTYPES[datatype])
    tensor = Tensor(name="a", datatype=datatype, shape=(2, 3), data=values.tobytes())
    (zeroed,) = masked((tensor,), {"a": "zero"}, KEY)
    assert not np.frombuffer(zeroed.data, DTYPES[datatype]).any()


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(name="a", datatype="FP32", shape=(1,), data=b"1234"),
        Tensor(name="a", datatype="BYTES", shape=(1,), data=b"\x05\0\0\0abc"),
        Tensor(name="a", datatype="BYTES", shape=(1,), data=b"\x01\0"),
        Tensor(name="a", datatype="BYTES", shape=(2,), data=join_elements([b"abc"])),
        Tensor(name="a", datatype="BYTES", shape=(0,), data=join_elements([b"abc"])),
    ],
)
def test_what_cannot_be_hashed_does_not_leave(tensor: Tensor) -> None:
    with pytest.raises(ValueError, match=r"'a'|element 0"):
        masked((tensor,), {"a": "hash"}, KEY)


def test_without_a_key_nothing_is_hashed() -> None:
    tensor = Tensor(name="a", datatype="BYTES", shape=(1,), data=join_elements([b"abc"]))
    with pytest.raises(ValueError, match="key"):
        masked((tensor,), {"a": "hash"}, b"")


SPECS = (TensorSpec("score", "FP32", (-1,)), TensorSpec("ssn", "BYTES", (-1,)))


@pytest.mark.parametrize(
    ("mask", "requested", "defect"),
    [
        ({}, (), ""),
        ({"score": "zero", "ssn": "hash"}, (), ""),
        ({"score": "drop"}, (OutputRequest(name="ssn", shared_memory=("r", 0, 8)),), ""),
        ({"scores": "drop"}, (), "'scores', which the model does not have"),
        ({"score": "hash"}, (), "'score' of type FP32"),
        ({"ssn": "zero"}, (OutputRequest(name="ssn", shared_memory=("r", 0, 8)),), "shared memory"),
    ],
)
def test_a_mask_that_cannot_be_kept_is_found_before_the_run(
    mask: dict[str, str], requested: tuple[OutputRequest, ...], defect: str
) -> None:
    found = mask_defect(mask, SPECS, requested)
    assert defect in found
    assert bool(defect) is bool(found)


def test_masked_outputs_that_leave_are_named_so_that_any_name_can_be_a_header() -> None:
    leaving = tuple(Tensor(name=name, datatype="FP32", shape=(0,), data=b"") for name in ("a,b", "größe", "plain"))
    mask = {"a,b": "zero", "größe": "hash", "gone": "drop"}
    assert masked_names(leaving, mask) == (("gateway-masked", "a%2Cb,gr%C3%B6%C3%9Fe"),)
    assert masked_names(leaving[2:], mask) == ()
