"""The warm-up requests that an operator configured: all must succeed before a version is ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gateway.errors import GatewayError
from gateway.serving.datatypes import BYTES, DTYPES, join_elements
from gateway.serving.servable import ModelUnloadable
from gateway.serving.settings import WarmupInput, WarmupSample
from gateway.serving.signature import ModelSignature
from gateway.types import Tensor

if TYPE_CHECKING:
    from gateway.serving.model import Model

Read = Callable[[str], bytes]
"""The bytes of a file, by its path in the model's directory. Raises: ModelUnloadable."""


def rehearse(model: Model, signature: ModelSignature, samples: Sequence[WarmupSample], read: Read) -> None:
    """Run every sample as often as it says. Blocking. Raises: ModelUnloadable naming the sample and the cause."""
    for sample in samples:
        if not sample.batch_size:
            continue
        tensors = [_tensor(name, given, sample.batch_size, signature, read) for name, given in sample.inputs.items()]
        try:
            inputs = signature.validate(tensors)
            for _ in range(sample.count or 1):
                model.run(inputs)
        except GatewayError as error:
            raise ModelUnloadable(f"warm-up '{sample.name}' failed: {error}") from error


def _tensor(name: str, given: WarmupInput, rows: int, signature: ModelSignature, read: Read) -> Tensor:
    shape = (rows, *given.dims) if signature.max_batch_size else given.dims
    return Tensor(name=name, datatype=given.datatype, shape=shape, data=_data(given, shape, read))


def _data(given: WarmupInput, shape: tuple[int, ...], read: Read) -> bytes:
    if given.fill == "file":
        return read(f"warmup/{given.file}")
    count = int(np.prod(shape, dtype=np.int64))
    if given.datatype == BYTES:
        return join_elements([b""] * count)
    dtype = DTYPES[given.datatype]
    if given.fill == "zero":
        return bytes(count * dtype.itemsize)
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        return random.random(count).astype(dtype).tobytes()
    return random.integers(0, 2, count).astype(dtype).tobytes()
