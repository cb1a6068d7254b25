"""Why a request's tensors do not fit: one text for each way, in the order in which Triton checks.

Only called when something is wrong, so it may look at everything twice. Texts that public clients and
test suites match on are Triton's (``docs/serving.md`` lists them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.errors import InvalidInput
from gateway.serving.datatypes import BYTES, DTYPES, split_elements
from gateway.serving.spec import TensorSpec
from gateway.types import Tensor

MAX_SIZE = 2**40
MAX_TEXT = 1000  # names come from callers, and a status message travels in a header


def explain(model: str, specs: Sequence[TensorSpec], limit: int, inputs: Sequence[Tensor]) -> InvalidInput:
    """The error for ``inputs`` that do not fit ``specs``; ``limit`` is the model's ``max_batch_size``."""
    text = (
        _duplicate(inputs)
        or _count(model, specs, inputs)
        or _unknown(model, specs, inputs)
        or _batch(model, limit, inputs)
        or _tensors(model, specs, inputs)
        or f"the inputs do not fit model '{model}'"
    )
    return InvalidInput(text[:MAX_TEXT])


def _duplicate(inputs: Sequence[Tensor]) -> str:
    seen: set[str] = set()
    for tensor in inputs:
        if tensor.name in seen:
            return f"input '{tensor.name}' already exists in request"
        seen.add(tensor.name)
    return ""


def _count(model: str, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> str:
    required = sum(not spec.optional for spec in specs)
    if required <= len(inputs) <= len(specs):
        return ""
    if required == len(specs):
        expected = f"expected {len(specs)} inputs"
    else:
        expected = f"expected number of inputs between {required} and {len(specs)}"
    names = [tensor.name for tensor in inputs]
    missing = [spec.name for spec in specs if not spec.optional and spec.name not in names]
    return (
        f"{expected} but got {len(inputs)} inputs for model '{model}'. Got input(s) {names}, "
        f"but missing required input(s) {missing}. Please provide all required input(s)."
    )


def _unknown(model: str, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> str:
    names = [spec.name for spec in specs]
    for tensor in inputs:
        if tensor.name not in names:
            return f"unexpected inference input '{tensor.name}' for model '{model}'; it has {names}"
    got = {tensor.name for tensor in inputs}
    for spec in specs:
        if not spec.optional and spec.name not in got:
            return f"missing required input '{spec.name}' for model '{model}'"
    return ""


def _batch(model: str, limit: int, inputs: Sequence[Tensor]) -> str:
    if not limit:
        return ""
    first = inputs[0].shape[0] if inputs and inputs[0].shape else 0
    for tensor in inputs:
        if not tensor.shape:
            return f"input '{tensor.name}' has no batch dimension, but model '{model}' batches"
        if tensor.shape[0] != first:
            return (
                f"input '{tensor.name}' batch size does not match other inputs for '{model}': "
                f"got {tensor.shape[0]}, expected {first} as for '{inputs[0].name}'"
            )
    if first > limit:
        return f"inference request batch-size must be <= {limit} for '{model}', got {first}"
    return ""


def _tensors(model: str, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> str:
    by_name = {spec.name: spec for spec in specs}
    for tensor in inputs:
        spec = by_name[tensor.name]
        text = _kind(model, spec, tensor) or (
            _bytes(model, tensor) if tensor.datatype == BYTES else _size(model, tensor)
        )
        if text:
            return text
    return ""


def _kind(model: str, spec: TensorSpec, tensor: Tensor) -> str:
    if tensor.datatype != spec.datatype:
        return (
            f"inference input '{tensor.name}' data-type is '{tensor.datatype}', "
            f"but model '{model}' expects '{spec.datatype}'"
        )
    if not spec.accepts(tensor.shape):
        return (
            f"unexpected shape for input '{tensor.name}' for model '{model}'. "
            f"Expected {_shape(spec.shape)}, got {_shape(tensor.shape)}"
        )
    return ""


def _size(model: str, tensor: Tensor) -> str:
    expected = math.prod(tensor.shape) * DTYPES[tensor.datatype].itemsize
    if len(tensor.data) != expected:
        return (
            f"input byte size mismatch for input '{tensor.name}' for model '{model}'. "
            f"Expected {expected}, got {len(tensor.data)}"
        )
    if any(size > MAX_SIZE for size in tensor.shape):  # beside a dimension of 0, or the bytes would be missing
        return f"shape {_shape(tensor.shape)} of input '{tensor.name}' for model '{model}' is too large"
    if tensor.datatype == "BOOL" and max(tensor.data, default=0) > 1:
        return f"input '{tensor.name}' for model '{model}' holds a byte other than 0 and 1 as BOOL"
    return ""


def _bytes(model: str, tensor: Tensor) -> str:
    where = f"inference input '{tensor.name}' for model '{model}'"
    expected = math.prod(tensor.shape)
    try:
        elements = split_elements(tensor.data)
    except ValueError as error:
        return f"incomplete string data for {where}: {error}"
    if len(elements) < expected:
        return f"expected {expected} string elements for {where}, got {len(elements)}"
    if len(elements) > expected:
        return f"unexpected number of string elements {len(elements)} for {where}, expecting {expected}"
    for index, element in enumerate(elements):
        try:
            element.decode()
        except UnicodeDecodeError as error:
            return f"string element {index} for {where} is not UTF-8: {error.reason} at byte {error.start}"
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
