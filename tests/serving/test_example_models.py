"""The example models on their held-out rows, many callers sharing runs: each gets what onnxruntime says about its rows
alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from held_out import ALL, EXAMPLES, Example, inputs, outputs, session

from gateway.serving.datatypes import BYTES, DTYPES, split_elements, to_raw
from gateway.serving.model import ModelServable
from gateway.serving.warmup import ATOL, RTOL
from gateway.types import Tensor

ROWS = 96


def to_array(tensor: Tensor) -> np.ndarray:
    if tensor.datatype == BYTES:
        return np.array([e.decode() for e in split_elements(tensor.data)], dtype=object).reshape(tensor.shape)
    return np.frombuffer(tensor.data, DTYPES[tensor.datatype]).reshape(tensor.shape)


def same(got: np.ndarray, expected: np.ndarray) -> None:
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(got, expected, rtol=RTOL, atol=ATOL)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
@pytest.mark.parametrize("threads", [True, False], ids=["batched", "on-the-loop"])
async def test_each_caller_gets_its_own_rows(
    load: Callable[..., ModelServable], example: Example, threads: bool
) -> None:
    data = (EXAMPLES / "models" / example.name / "1" / "model.onnx").read_bytes()
    servable = load(data, instances=1, inline_ns=0 if threads else 10**9)
    rows = inputs(example)[:ROWS]
    runtime = session(example)

    async def call(first: int, count: int) -> int:
        mine = rows[first : first + count]
        tensor = Tensor(
            name=example.input, datatype=example.datatype, shape=mine.shape, data=to_raw(mine, example.datatype)
        )
        answer = await servable.infer(servable.signature.validate([tensor]))
        expected = outputs(runtime, example, mine)
        assert [out.name for out in answer.outputs] == list(expected)
        for out in answer.outputs:
            assert out.shape == expected[out.name].shape
            if answer.batch_n == count:
                np.testing.assert_array_equal(to_array(out), expected[out.name])
            else:
                same(to_array(out), expected[out.name])
        return answer.batch_n

    counts = [1, 2, 3, 1, 5]
    starts = [(i * 7) % (len(rows) - 5) for i in range(40)]
    batches = await asyncio.gather(*[call(first, counts[i % 5]) for i, first in enumerate(starts)])
    if threads:
        assert max(batches) > 5
