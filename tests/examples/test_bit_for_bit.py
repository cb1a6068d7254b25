"""What leaves the gateway is what ONNX Runtime computes, bit for bit, over both transports, alone and in a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from held_out import ALL, Example, inputs, outputs, session
from running import Running, start

PAGE = 32
CROWD = 64
WHO = {
    "breast-cancer": ("screening-app", "clinic"),
    "diabetes": ("screening-app", "clinic"),
    "digits": ("post-reader", "research"),
    "sentiment": ("post-reader", "research"),
}


@pytest.fixture(scope="module", params=["h2", "grpcio"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("gateway") / "data", "--transport", request.param)
    yield running
    running.stop()


def tensor(example: Example, batch: np.ndarray) -> triton.InferInput:
    found = triton.InferInput(example.input, list(batch.shape), example.datatype)
    texts = np.vectorize(str.encode, otypes=[object])
    found.set_data_from_numpy(texts(batch) if example.datatype == "BYTES" else batch)
    return found


async def ask(
    client: triton.InferenceServerClient, example: Example, batch: np.ndarray, key: str
) -> dict[str, np.ndarray]:
    """The answer's outputs in their own dtypes; text decoded."""
    answer = await client.infer(example.name, [tensor(example, batch)], headers={"x-api-key": key})
    found = {o.name: answer.as_numpy(o.name) for o in answer.get_response().outputs}
    return {name: o.astype(str).astype(object) if o.dtype == object else o for name, o in found.items()}


def assert_same_bits(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> None:
    assert list(expected) == list(got)
    for name, array in expected.items():
        other = got[name].reshape(array.shape)  # a model's scalar per row may come as [N, 1]
        assert array.dtype == other.dtype
        same = array.tolist() == other.tolist() if array.dtype == object else array.tobytes() == other.tobytes()
        assert same, f"{name}: {array} against {other}"


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
async def test_rows_alone_and_in_pages(gateway: Running, example: Example) -> None:
    key, runtime, rows = gateway.key(*WHO[example.name]), session(example), inputs(example)
    async with triton.InferenceServerClient(gateway.url) as client:
        for start_row in range(0, len(rows), PAGE):
            page = rows[start_row : start_row + PAGE]
            assert_same_bits(outputs(runtime, example, page), await ask(client, example, page, key))
        for row in rows[:CROWD]:
            assert_same_bits(outputs(runtime, example, row[None]), await ask(client, example, row[None], key))


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
async def test_rows_that_come_together(gateway: Running, example: Example) -> None:
    """Calls in flight at once may share a run; kernels differ by batch size in the low bits, and in nothing else."""
    key, runtime, rows = gateway.key(*WHO[example.name]), session(example), inputs(example)[:CROWD]
    async with triton.InferenceServerClient(gateway.url) as client:
        answers = await asyncio.gather(*(ask(client, example, row[None], key) for row in rows))
    for row, answer in zip(rows, answers, strict=True):
        for name, alone in outputs(runtime, example, row[None]).items():
            got = answer[name].reshape(alone.shape)
            if alone.dtype.kind == "f":
                np.testing.assert_allclose(got, alone, rtol=1e-5, atol=1e-6)
            else:
                assert got.tolist() == alone.tolist()
