"""Trying a model before anyone relies on it: does it run, how long, and are its rows independent?

Runs on made-up inputs, so a model may refuse them; then nothing is learnt and nothing is assumed: the model
is served from threads and never batched with other callers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.errors import ModelFailed
from gateway.serving.datatypes import BYTES, DTYPES, Array
from gateway.serving.pace import Pace, size_of
from gateway.serving.servable import Arrays
from gateway.serving.spec import TensorSpec

if TYPE_CHECKING:
    from gateway.serving.model import Model

FREE_SIZES = (1, 8, 32, 224)
"""Sizes tried for free dimensions, until the model accepts one."""

RUNS = 5
RTOL, ATOL = 1e-3, 1e-4
"""How far a row's answer may move when it shares a batch: kernels differ by batch size in the low bits."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the trial showed. ``ran``: made-up inputs were accepted. ``leads``: every output has one row for
    each input row. ``independent``: no row's answer depends on its neighbours."""

    ran: bool = False
    leads: bool = False
    independent: bool = False


def sample(specs: Sequence[TensorSpec], free: int, rows: int, seed: int) -> dict[str, Array]:
    """Made-up inputs in the graph's shapes: small whole numbers 0 and 1, floats in [0, 1), short texts."""
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in specs:
        shape = [free if size == -1 else size for size in (spec.shape if spec.reshape is None else spec.reshape)]
        if rows:
            shape[0] = rows
        arrays[spec.name] = _fill(random, spec.datatype, tuple(shape))
    return arrays


def _fill(random: np.random.Generator, datatype: str, shape: tuple[int, ...]) -> Array:
    if datatype == BYTES:
        return random.integers(0, 2, shape).astype(str).astype(object)
    if datatype in ("FP16", "FP32", "FP64"):
        return random.random(shape).astype(DTYPES[datatype])
    if datatype == "BF16":
        return (random.random(shape, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return random.integers(0, 2, shape).astype(DTYPES[datatype])


def attempt(
    model: Model, specs: Sequence[TensorSpec], max_batch_size: int, pace: Pace, clock_ns: Callable[[], int]
) -> Trial:
    """Run ``model`` a few times and note its pace."""
    rows = 1 if max_batch_size else 0
    for free in FREE_SIZES:
        inputs = sample(specs, free, rows, seed=1)
        try:
            first = model.run(inputs)
        except ModelFailed:
            continue
        for _ in range(RUNS):
            started = clock_ns()
            model.run(inputs)
            pace.note(size_of(inputs), clock_ns() - started)
        if max_batch_size < 2:
            return Trial(ran=True)
        return _rows(model, inputs, first, sample(specs, free, rows, seed=2))
    return Trial()


def _rows(model: Model, one: Arrays, answer: Sequence[Array], two: Arrays) -> Trial:
    """Run two rows apart and together, and compare."""
    try:
        other = model.run(two)
        both = model.run({name: np.concatenate([one[name], two[name]]) for name in one})
    except ModelFailed:
        return Trial(ran=True)
    if any(array.shape[:1] != (2,) for array in both):
        return Trial(ran=True)
    same = all(
        _close(pair[:1], first) and _close(pair[1:], second)
        for pair, first, second in zip(both, answer, other, strict=True)
    )
    return Trial(ran=True, leads=True, independent=same)


def _close(got: Array, expected: Array) -> bool:
    if got.shape != expected.shape or got.dtype.kind not in "fc":
        return np.array_equal(got, expected)
    return np.allclose(got, expected, rtol=RTOL, atol=ATOL, equal_nan=True)
