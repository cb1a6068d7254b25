"""A model's signature: what goes in, what comes out, and the proof that inputs fit.

``validate`` is the only maker of ``ValidTensors`` in the package; ``tests/serving/test_valid_tensors.py``
reads the syntax tree to hold that. Its good path is a few look-ups and one view an input; whatever does
not fit goes to ``refusal.explain``, which finds the words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.serving.datatypes import BYTES, DTYPES, Array, split_elements
from gateway.serving.refusal import explain
from gateway.serving.servable import ValidTensors
from gateway.serving.spec import TensorSpec as TensorSpec
from gateway.serving.spec import fits
from gateway.types import Tensor

HEAVY_BYTES = 32 * 1024


class ModelSignature:
    """Inputs and outputs of ``model``. ``max_batch_size`` 0: the first dimension is not a batch.

    Immutable; safe from any thread.
    """

    __slots__ = ("_specs", "_texts", "inputs", "max_batch_size", "model", "outputs")

    def __init__(
        self,
        model: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        max_batch_size: int = 0,
    ) -> None:
        self.model = model
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.max_batch_size = max_batch_size
        self._texts = any(spec.datatype == BYTES for spec in self.inputs)
        self._specs = {spec.name: (spec, DTYPES[spec.datatype]) for spec in self.inputs}

    def validate(self, inputs: Sequence[Tensor]) -> ValidTensors:
        """Arrays over the tensors' own bytes (read-only), under the names and shapes the graph wants.

        BYTES become objects, the one kind that is copied. Raises: InvalidInput naming the input, what came
        and what was expected.
        """
        arrays: dict[str, Array] = {}
        limit = self.max_batch_size
        batch = -1
        for tensor in inputs:
            array = self._view(tensor)
            if array is None or tensor.name in arrays:
                raise self._refusal(inputs)
            if limit:
                rows = tensor.shape[0]
                if rows > limit or batch not in (-1, rows):
                    raise self._refusal(inputs)
                batch = rows
            arrays[tensor.name] = array
        if len(arrays) != len(self._specs):
            for spec in self.inputs:
                if not spec.optional and spec.name not in arrays:
                    raise self._refusal(inputs)
        return ValidTensors(arrays)

    def heavy(self, inputs: Sequence[Tensor]) -> bool:
        """Whether ``validate`` would hold up an event loop: BYTES are taken apart one by one (0.2 us each), and a
        message of 64 MiB can hold 16 million. Such inputs are for a thread."""
        return self._texts and sum(len(t.data) for t in inputs if t.datatype == BYTES) > HEAVY_BYTES

    def rows(self, inputs: ValidTensors) -> int:
        """Rows of a batching model's inputs; 1 for a model that does not batch."""
        if self.max_batch_size:
            for array in inputs.values():
                return array.shape[0]
        return 1

    def _refusal(self, inputs: Sequence[Tensor]) -> Exception:
        return explain(self.model, self.inputs, self.max_batch_size, inputs)

    def _view(self, tensor: Tensor) -> Array | None:
        """The tensor as an array, or None if it does not fit by name, datatype, shape or size."""
        found = self._specs.get(tensor.name)
        if found is None:
            return None
        spec, dtype = found
        if tensor.datatype != spec.datatype:
            return None
        shape = tensor.shape
        exact = fits(spec.shape, shape)
        if not exact and not spec.accepts(shape):
            return None
        array = _texts(tensor) if tensor.datatype == BYTES else _numbers(tensor, dtype)
        if array is None or (exact and spec.reshape is None):
            return array
        return array.reshape(spec.inside(shape))


def _numbers(tensor: Tensor, dtype: np.dtype[np.generic]) -> Array | None:
    data = tensor.data
    try:
        array: Array = np.ndarray(tensor.shape, dtype, data)
    except (TypeError, ValueError):
        return None
    if array.nbytes != len(data):
        return None
    if tensor.datatype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        return None
    # A slice of shared memory may start anywhere, and the runtime may use aligned loads.
    return array if type(data) is bytes or array.flags.aligned else array.copy()


def _texts(tensor: Tensor) -> Array | None:
    try:
        elements = [element.decode() for element in split_elements(tensor.data)]
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return array.reshape(tensor.shape)
    except ValueError:
        return None
