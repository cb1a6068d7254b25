"""How the arrays that a run gave become tensors again: one call's, or each call's of a run that was shared."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.serving.datatypes import BYTES, Array, to_raw
from gateway.serving.spec import TensorSpec
from gateway.types import Tensor


def tensor_of(spec: TensorSpec, array: Array) -> Tensor:
    """The output tensor that ``array`` is, in the shape that callers see."""
    return Tensor(
        name=spec.name, datatype=spec.datatype, shape=spec.outside(array.shape), data=to_raw(array, spec.datatype)
    )


def pieces_of(spec: TensorSpec, array: Array, rows: Sequence[int]) -> list[Tensor]:
    """The output tensors of calls that ran together: each has so many of the ``rows`` of ``array``."""
    pieces: list[Tensor] = []
    first = 0
    if spec.datatype == BYTES:
        for count in rows:
            pieces.append(tensor_of(spec, array[first : first + count]))
            first += count
        return pieces
    raw, inner, name, datatype = array.tobytes(), array.shape[1:], spec.name, spec.datatype
    width, known, shape = len(raw) // array.shape[0], -1, inner
    for count in rows:
        if count != known:  # most calls have one row
            known, shape = count, spec.outside((count, *inner))
        last = first + count * width
        pieces.append(Tensor(name, datatype, shape, raw[first:last]))
        first = last
    return pieces
