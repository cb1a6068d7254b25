"""Classification: the best classes of each row, as Triton writes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidInput
from gateway.pipeline.classification import MAX_ELEMENTS, classify
from gateway.pipeline.outputs import select
from gateway.serving.datatypes import DTYPES, split_elements
from gateway.serving.spec import TensorSpec
from gateway.types import OutputRequest, Tensor

SORTABLE = sorted(set(DTYPES) - {"FP16", "BF16", "BOOL", "BYTES"})


def tensor(values: object, datatype: str = "FP32") -> Tensor:
    array = np.asarray(values, DTYPES[datatype])
    return Tensor(name="out", datatype=datatype, shape=array.shape, data=array.tobytes())


def texts(tensor: Tensor) -> list[str]:
    return [e.decode() for e in split_elements(tensor.data)]


def test_the_best_classes_of_each_row_come_first() -> None:
    classes = classify(tensor([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]]), 2)
    assert (classes.name, classes.datatype, classes.shape) == ("out", "BYTES", (2, 2))
    assert texts(classes) == ["0.700000:1", "0.200000:2", "0.500000:0", "0.250000:1"]


def test_labels_follow_where_a_class_has_one() -> None:
    classes = classify(tensor([[1.0, 3.0, 2.0]]), 3, labels=["benign", "", "malignant"])
    assert texts(classes) == ["3.000000:1", "2.000000:2:malignant", "1.000000:0:benign"]
    assert texts(classify(tensor([[1.0, 3.0]]), 1, labels=["only one"])) == ["3.000000:1"]


def test_without_batching_the_whole_tensor_is_one_row() -> None:
    classes = classify(tensor([[1, 9], [7, 3]], "INT64"), 3, batching=False)
    assert classes.shape == (3,)
    assert texts(classes) == ["9:1", "7:2", "3:3"]


def test_a_row_of_several_dimensions_is_flat() -> None:
    assert texts(classify(tensor([[[1, 2], [8, 3]]], "INT32"), 1)) == ["8:2"]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_nothing_to_classify_is_no_error(shape: tuple[int, ...]) -> None:
    classes = classify(tensor(np.zeros(shape)), 5)
    assert classes.shape[0] == shape[0]
    assert math.prod(classes.shape) == 0
    assert classes.data == b""


def test_a_scalar_is_one_class() -> None:
    assert texts(classify(tensor(2.5), 4, batching=False)) == ["2.500000:0"]


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - set(SORTABLE)))
def test_other_datatypes_are_refused_by_name(datatype: str) -> None:
    with pytest.raises(InvalidInput, match=f"'out' due to unsupported type '{datatype}'"):
        classify(Tensor(name="out", datatype=datatype, shape=(1,), data=b"\0\0"), 1)


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count: int) -> None:
    with pytest.raises(InvalidInput, match=f"must be at least 1, got {count}"):
        classify(tensor([[1.0]]), count)


def test_too_many_elements_are_refused_before_they_are_read() -> None:
    big = Tensor(name="out", datatype="FP32", shape=(1, MAX_ELEMENTS + 1), data=b"")
    with pytest.raises(InvalidInput, match="1000001 elements"):
        classify(big, 1)


def test_nan_is_no_best_class() -> None:
    assert texts(classify(tensor([[math.nan, 1.0, math.inf, math.nan]]), 4)) == [
        "inf:2",
        "1.000000:1",
        "nan:0",
        "nan:3",
    ]


@given(st.sampled_from(SORTABLE), st.data())
def test_order_is_by_value_then_index(datatype: str, data: st.DataObject) -> None:
    dtype = DTYPES[datatype]
    if dtype.kind == "f":
        value = st.floats(width=dtype.itemsize * 8, allow_nan=False).filter(lambda x: x != 0)
    else:
        info = np.iinfo(dtype)
        value = st.one_of(st.integers(int(info.min), int(info.max)), st.sampled_from([int(info.min), int(info.max)]))
    values = np.array(data.draw(st.lists(value, min_size=1, max_size=12)), dtype)
    count = data.draw(st.integers(1, 15))
    expected = sorted(range(len(values)), key=lambda i: (-values[i].item(), i))[:count]
    found = texts(classify(tensor([values], datatype), count))
    assert [int(text.split(":")[1]) for text in found] == expected


def test_the_models_own_class_names_are_used() -> None:
    scores = Tensor(name="p", datatype="FP32", shape=(1, 2), data=np.array([[0.25, 0.75]], np.float32).tobytes())
    specs = [TensorSpec("p", "FP32", (-1, 2), labels=("benign", "malignant"))]
    (chosen,) = select((scores,), [OutputRequest(name="p", classification=2)], specs=specs)
    assert split_elements(chosen.data) == [b"0.750000:1:malignant", b"0.250000:0:benign"]
