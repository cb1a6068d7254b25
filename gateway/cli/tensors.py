"""Tensors as people type and read them: JSON or a .npy file in, nested lists out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.serving.datatypes import BYTES, DTYPES, Array, join_elements, split_elements


class TensorError(ValueError):
    """What was typed is no tensor; the text says what is wrong and how to write it."""


@dataclass(frozen=True, slots=True)
class Argument:
    """``NAME[:DATATYPE]=JSON`` or ``NAME[:DATATYPE]=@FILE.npy``; ``datatype`` "" when it was left out."""

    name: str
    datatype: str
    value: object


@dataclass(frozen=True, slots=True)
class WireTensor:
    """A tensor ready to be sent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


def parse(text: str) -> Argument:
    """The argument in ``text``. Raises: TensorError."""
    head, equals, value = text.partition("=")
    name, _, datatype = head.partition(":")
    if not equals or not name:
        raise TensorError(f"{text!r} is no input; write NAME=JSON or NAME=@file.npy, such as x='[[1.0, 2.0]]'")
    if datatype and datatype not in DTYPES:
        raise TensorError(f"{datatype!r} is no datatype; it is one of {', '.join(DTYPES)}")
    try:
        loaded = np.load(Path(value[1:]), allow_pickle=False) if value.startswith("@") else json.loads(value)
    except (OSError, ValueError) as error:
        raise TensorError(f"input {name}: {error}") from error
    return Argument(name, datatype, loaded)


def to_wire(argument: Argument, datatype: str, shape: tuple[int, ...]) -> WireTensor:
    """``argument`` as ``datatype``. A missing leading dimension is added where ``shape`` (the model's, -1 is
    free) has one more. Raises: TensorError when a value does not fit.
    """
    try:
        array = _array(argument.value, datatype)
    except (TypeError, ValueError, OverflowError) as error:
        raise TensorError(f"input {argument.name} does not fit {datatype}: {error}") from error
    if len(shape) == array.ndim + 1:
        array = array[np.newaxis]
    return WireTensor(argument.name, datatype, array.shape, _raw(array, datatype))


def guess(value: object) -> str:
    """The datatype that ``value`` has when nobody says: a .npy file's own, or FP32, INT64, BOOL, BYTES for JSON."""
    kind = value.dtype if isinstance(value, np.ndarray) else np.asarray(value).dtype
    if kind.kind in "OSU":
        return BYTES
    if isinstance(value, np.ndarray):
        return next((name for name, dtype in DTYPES.items() if dtype == kind and name != "BF16"), "FP32")
    return {"b": "BOOL", "i": "INT64"}.get(kind.kind, "FP32")


def to_lists(datatype: str, shape: tuple[int, ...], data: bytes) -> object:
    """The values of an output, nested as its shape. BYTES as text, undecodable bytes replaced."""
    if datatype == BYTES:
        texts = np.array([element.decode("utf-8", "replace") for element in split_elements(data)], dtype=object)
        return texts.reshape(shape).tolist()
    array: Array = np.frombuffer(data, DTYPES[datatype])
    if datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape).tolist()


def _array(value: object, datatype: str) -> Array:
    if datatype == BYTES:
        return np.asarray(value, dtype=object)
    dtype = np.dtype(np.float32) if datatype == "BF16" else DTYPES[datatype]
    exact = np.asarray(value)
    array = exact.astype(dtype)
    if dtype.kind in "iub" and not np.array_equal(array, exact):
        raise ValueError("a value is out of its range or has a fraction")
    return array


def _raw(array: Array, datatype: str) -> bytes:
    if datatype == BYTES:
        return join_elements(e if isinstance(e, bytes) else str(e).encode() for e in array.ravel().tolist())
    if datatype == "BF16":  # its elements are the upper halves of float32
        return (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return array.tobytes()
