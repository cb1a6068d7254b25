"""Tensors as people type and read them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gateway.cli.tensors import Argument, TensorError, guess, parse, to_lists, to_wire
from gateway.serving.datatypes import DTYPES


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_comes_back_as_it_was_typed(datatype):
    values: object = [["a", "é"]] if datatype == "BYTES" else [[True, False]] if datatype == "BOOL" else [[1, 0]]
    wire = to_wire(parse(f"x:{datatype}={json.dumps(values)}"), datatype, ())
    assert wire.shape == (1, 2)
    assert to_lists(datatype, wire.shape, wire.data) == values


def test_a_missing_batch_dimension_is_added_where_the_model_has_one():
    assert to_wire(parse("x=[1, 2]"), "FP32", (-1, 2)).shape == (1, 2)
    assert to_wire(parse("x=[1, 2]"), "FP32", ()).shape == (2,)
    assert to_wire(parse("x=1"), "FP32", (-1,)).shape == (1,)


@pytest.mark.parametrize(
    ("value", "datatype"),
    [([1.5], "FP32"), ([1], "INT64"), ([True], "BOOL"), (["a"], "BYTES"), (np.array([1], np.uint8), "UINT8")],
)
def test_a_datatype_is_guessed_from_the_values(value, datatype):
    assert guess(value) == datatype


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", [128]), ("UINT8", [-1]), ("INT32", [1.5]), ("FP32", ["x"]), ("FP32", [[1], [1, 2]]), ("INT64", [2**63])],
)
def test_values_that_do_not_fit_are_refused(datatype, value):
    with pytest.raises(TensorError, match=f"input x does not fit {datatype}"):
        to_wire(Argument("x", datatype, value), datatype, ())
