"""Completing a model's settings from its graph, and holding them against it. Pure.

The rules are Triton's for ONNX models: what the file leaves out is filled in, what contradicts the graph
is refused, and the words say both sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.serving.datatypes import DTYPES
from gateway.serving.servable import ModelUnloadable
from gateway.serving.settings import DynamicBatching, ModelSettings, TensorSettings
from gateway.serving.signature import ModelSignature
from gateway.serving.spec import TensorSpec

PLATFORM, BACKEND, FILENAME = "onnxruntime_onnx", "onnxruntime", "model.onnx"


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of the graph. ``datatype`` is an OIP name, or the runtime's own text for a type
    that no tensor of the protocol can carry. ``shape`` has -1 for symbolic axes."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def complete(
    settings: ModelSettings,
    inputs: Sequence[GraphTensor],
    outputs: Sequence[GraphTensor],
    default_max_batch_size: int,
) -> ModelSettings:
    """``settings`` with everything filled in that the graph tells.

    Raises: ModelUnloadable when they contradict the graph or ask for what is not served here.
    """
    _refuse_unserved(settings)
    rows = _batch_size(settings, inputs, outputs, default_max_batch_size)
    filled = replace(
        settings,
        platform=PLATFORM,
        backend=BACKEND,
        default_model_filename=settings.default_model_filename or FILENAME,
        max_batch_size=rows,
        inputs=settings.inputs or tuple(_fill(tensor, rows) for tensor in inputs),
        outputs=settings.outputs or tuple(_fill(tensor, rows) for tensor in outputs),
    )
    _hold("input", filled.inputs, inputs, rows)
    _hold("output", filled.outputs, outputs, rows)
    missing = {tensor.name for tensor in inputs} - {tensor.name for tensor in filled.inputs}
    if missing:
        raise ModelUnloadable(f"the configuration has no input {sorted(missing)}, which the graph needs")
    if filled.dynamic_batching is None and rows > 1:
        filled = replace(filled, dynamic_batching=DynamicBatching())
    return filled


def signature_of(
    name: str, settings: ModelSettings, labels: Mapping[str, tuple[str, ...]] | None = None
) -> ModelSignature:
    """The signature that completed settings describe: effective shapes, with the batch dimension. ``labels`` are the
    class names of outputs."""
    rows = settings.max_batch_size
    inputs = [_spec(tensor, rows) for tensor in settings.inputs]
    outputs = [replace(_spec(tensor, rows), labels=(labels or {}).get(tensor.name, ())) for tensor in settings.outputs]
    return ModelSignature(name, inputs, outputs, rows)


def _spec(tensor: TensorSettings, rows: int) -> TensorSpec:
    lead = (-1,) if rows else ()
    if tensor.scalar:
        return TensorSpec(tensor.name, tensor.datatype, lead, tensor.optional, scalar=True)
    reshape = None if tensor.reshape is None else lead + tensor.reshape
    return TensorSpec(tensor.name, tensor.datatype, lead + tensor.dims, tensor.optional, reshape)


def _refuse_unserved(settings: ModelSettings) -> None:
    if settings.backend not in ("", BACKEND):
        raise ModelUnloadable(f"backend '{settings.backend}' is not served here, only '{BACKEND}'")
    if settings.platform not in ("", PLATFORM):
        raise ModelUnloadable(f"platform '{settings.platform}' is not served here, only '{PLATFORM}'")
    if settings.unsupported:
        raise ModelUnloadable(f"the configuration asks for what is not served here: {settings.unsupported}")
    if settings.max_batch_size < 0:
        raise ModelUnloadable(f"max_batch_size must not be negative, got {settings.max_batch_size}")


def _batch_size(
    settings: ModelSettings, inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor], default: int
) -> int:
    tensors = [*inputs, *outputs]
    can_batch = bool(tensors) and all(tensor.shape[:1] == (-1,) for tensor in tensors)
    if settings.max_batch_size and not can_batch:
        fixed = [f"'{t.name}' {list(t.shape)}" for t in tensors if t.shape[:1] != (-1,)]
        raise ModelUnloadable(
            f"model does not support batching while non-zero max_batch_size is specified: "
            f"got max_batch_size {settings.max_batch_size}, but the first dimension of {', '.join(fixed)} is fixed"
        )
    if settings.max_batch_size or not can_batch or _whole_shapes(settings, inputs, outputs):
        return settings.max_batch_size
    return default


def _whole_shapes(settings: ModelSettings, inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor]) -> bool:
    """Whether configured dims already hold the first dimension, as ``max_batch_size: 0`` means."""
    ranks = {tensor.name: len(tensor.shape) for tensor in (*inputs, *outputs)}
    given = (*settings.inputs, *settings.outputs)
    if settings.inputs and settings.outputs:
        return True
    return any(ranks.get(tensor.name) == len(tensor.reshape or tensor.dims) for tensor in given)


def _fill(tensor: GraphTensor, rows: int) -> TensorSettings:
    dims = tensor.shape[1:] if rows else tensor.shape
    if dims:
        return TensorSettings(name=tensor.name, datatype=tensor.datatype, dims=dims)
    return TensorSettings(name=tensor.name, datatype=tensor.datatype, dims=(1,), reshape=(), scalar=True)


def _hold(kind: str, given: Sequence[TensorSettings], graph: Sequence[GraphTensor], rows: int) -> None:
    """Refuse settings that the graph contradicts. Inputs may be narrower than the graph; outputs are exact."""
    by_name = {tensor.name: tensor for tensor in graph}
    seen: set[str] = set()
    for tensor in given:
        have = by_name.get(tensor.name)
        if have is None or tensor.name in seen:
            problem = "appears twice" if tensor.name in seen else "is not in the graph"
            raise ModelUnloadable(f"{kind} '{tensor.name}' of the configuration {problem}, which has {sorted(by_name)}")
        seen.add(tensor.name)
        if have.datatype not in DTYPES:
            raise ModelUnloadable(
                f"{kind} '{tensor.name}' is {have.datatype}, which is no tensor: export the model with plain "
                f"tensors (for scikit-learn classifiers: options={{'zipmap': False}})"
            )
        if tensor.datatype != have.datatype:
            raise ModelUnloadable(
                f"{kind} '{tensor.name}' is {tensor.datatype} in the configuration but {have.datatype} in the graph"
            )
        _hold_shape(kind, tensor, have, rows)


def _hold_shape(kind: str, tensor: TensorSettings, have: GraphTensor, rows: int) -> None:
    dims = tensor.dims if tensor.reshape is None else tensor.reshape
    shape = (-1, *dims) if rows else dims
    if len(shape) != len(have.shape) or not all(
        want == got or got == -1 or (kind == "output" and want == -1)
        for want, got in zip(shape, have.shape, strict=True)
    ):
        raise ModelUnloadable(
            f"{kind} '{tensor.name}' has shape {list(shape)} in the configuration but {list(have.shape)} in the graph"
        )
    if tensor.reshape is not None and _count(tensor.dims) != _count(tensor.reshape):
        raise ModelUnloadable(
            f"{kind} '{tensor.name}' cannot be reshaped from {list(tensor.dims)} to {list(tensor.reshape)}: "
            f"the number of elements differs"
        )


def _count(dims: Sequence[int]) -> tuple[int, int]:
    """The product of the fixed dimensions, and how many are free."""
    return math.prod(size for size in dims if size != -1), list(dims).count(-1)
