"""The classification extension: an output of scores becomes its best classes, as text."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from gateway.errors import InvalidInput
from gateway.serving.datatypes import DTYPES, Array, join_elements
from gateway.types import Tensor

MAX_ELEMENTS = 1_000_000

_SORTABLE = frozenset(DTYPES) - {"FP16", "BF16", "BOOL", "BYTES"}


def classify(tensor: Tensor, count: int, *, batching: bool = True, labels: Sequence[str] = ()) -> Tensor:
    """The ``count`` best classes of each row of ``tensor``, or all of them where there are fewer.

    A BYTES tensor of shape ``[batch, n]``, or ``[n]`` without batching; an element is ``VALUE:INDEX`` or, where
    ``labels`` names the class, ``VALUE:INDEX:LABEL``. Higher values come first, equal ones by index, NaN last.
    Floats print with six decimals.

    Raises: InvalidInput for a count below 1, another datatype, more than ``MAX_ELEMENTS`` elements.
    """
    if count < 1:
        raise InvalidInput(f"classification of output '{tensor.name}' must be at least 1, got {count}")
    if tensor.datatype not in _SORTABLE:
        raise InvalidInput(
            f"class result not available for output '{tensor.name}' due to unsupported type '{tensor.datatype}'"
        )
    if prod(tensor.shape) > MAX_ELEMENTS:
        raise InvalidInput(
            f"class result not available for output '{tensor.name}': it has {prod(tensor.shape)} elements, "
            f"at most {MAX_ELEMENTS} are sorted"
        )
    rows = tensor.shape[0] if batching and tensor.shape else 1
    values = np.frombuffer(tensor.data, DTYPES[tensor.datatype])
    classes = values.size // rows if rows else 0
    best = min(count, classes)
    texts: list[bytes] = []
    for row in values.reshape(rows, classes):
        for index in _descending(row)[:best]:
            texts.append(_element(row[index].item(), int(index), labels).encode())
    shape = (rows, best) if batching else (best,)
    return Tensor(name=tensor.name, datatype="BYTES", shape=shape, data=join_elements(texts))


def _descending(row: Array) -> Array:
    """Indices by value, highest first; equal values keep their order."""
    if row.dtype.kind == "f":
        row = np.where(np.isnan(row), -np.inf, row)
    # Sorting the reversed row and reversing again makes a stable ascending sort a stable descending one.
    return (len(row) - 1 - np.argsort(row[::-1], kind="stable"))[::-1]


def _element(value: object, index: int, labels: Sequence[str]) -> str:
    number = f"{value:f}" if isinstance(value, float) else str(value)
    label = labels[index] if index < len(labels) else ""
    return f"{number}:{index}:{label}" if label else f"{number}:{index}"
