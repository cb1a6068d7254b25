"""Short calls of one turn share a run; nobody waits for company, and nobody pays for another's mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from gateway.errors import DeadlineExceeded, ModelFailed
from gateway.serving.datatypes import Array
from gateway.serving.pace import Pace
from gateway.serving.servable import Arrays, Inference
from gateway.serving.statistics import Statistics
from gateway.serving.turn import BLOCK_NS, Turn
from gateway.types import Tensor


class Doubling:
    """Doubles what it is given and remembers how many rows came at once; a negative number makes it fail."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, inputs: Arrays) -> Sequence[Array]:
        x = inputs["x"]
        self.rows.append(len(x))
        if (x < 0).any():
            raise ModelFailed("negative")
        return [x * 2]

    @staticmethod
    def split(outputs: Sequence[Array], rows: Sequence[int]) -> list[tuple[Tensor, ...]]:
        ends = np.cumsum(rows)
        parts = np.split(outputs[0], ends[:-1])
        return [(Tensor(name="y", datatype="FP32", shape=p.shape, data=p.tobytes()),) for p in parts]


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1

    def __call__(self) -> int:
        return self.now_ns


def turn(model: Doubling, *, max_rows: int = 8, expected_ns: int = 1_000) -> tuple[Turn, Clock, Statistics]:
    pace, clock, statistics = Pace(), Clock(), Statistics()
    pace.note(3, expected_ns)
    made = Turn("m", model.run, model.split, max_rows=max_rows, pace=pace, statistics=statistics, clock_ns=clock)
    return made, clock, statistics


def call(made: Turn, *values: float, width: int = 1, deadline_ns: int | None = None) -> asyncio.Future[Inference]:
    x = np.array(values, np.float32).reshape(-1, width)
    return made.infer({"x": x}, len(x), 3, deadline_ns)


def values(inference: Inference) -> list[float]:
    return np.frombuffer(inference.outputs[0].data, np.float32).tolist()


async def test_calls_of_one_turn_share_a_run_and_each_gets_its_own_rows() -> None:
    model = Doubling()
    made, _, statistics = turn(model)
    answers = await asyncio.gather(call(made, 1), call(made, 2, 3), call(made, 4))
    assert [values(a) for a in answers] == [[2], [4, 6], [8]]
    assert model.rows == [4]
    assert [(a.batch_n, a.batch_i) for a in answers] == [(4, 0), (4, 1), (4, 3)]
    counted = statistics.snapshot("m", "1", now_ns=0, now_ms=0)
    assert (counted.execution_count, counted.inference_count, counted.success.count) == (1, 4, 3)


async def test_a_lone_call_runs_alone_and_at_once() -> None:
    model = Doubling()
    made, _, _ = turn(model)
    assert values(await call(made, 5)) == [10]
    assert values(await call(made, 6)) == [12]
    assert model.rows == [1, 1]


async def test_rows_shapes_and_time_bound_one_run() -> None:
    model = Doubling()
    made, _, _ = turn(model, max_rows=3)
    await asyncio.gather(*(call(made, 1) for _ in range(5)))
    assert model.rows == [3, 2]

    model.rows.clear()
    await asyncio.gather(call(made, 1), call(made, 1, 2, width=2), call(made, 1))
    assert sorted(model.rows) == [1, 2]

    model.rows.clear()
    slow, _, _ = turn(model, max_rows=100, expected_ns=BLOCK_NS // 2)
    await asyncio.gather(*(call(slow, 1) for _ in range(5)))
    assert model.rows[0] == 2

    model.rows.clear()
    single, _, _ = turn(model, max_rows=0)
    await asyncio.gather(*(call(single, 1) for _ in range(3)))
    assert model.rows == [1, 1, 1]


async def test_a_bad_call_fails_alone() -> None:
    model = Doubling()
    made, _, statistics = turn(model)
    good, bad, other = call(made, 1), call(made, -1), call(made, 2)
    await asyncio.wait({good, bad, other})
    assert values(good.result()) == [2]
    assert values(other.result()) == [4]
    with pytest.raises(ModelFailed):
        bad.result()
    assert model.rows == [3, 1, 1, 1]
    assert statistics.snapshot("m", "1", now_ns=0, now_ms=0).fails == {"BACKEND": 1}


async def test_who_is_gone_or_too_late_is_dropped_before_the_run() -> None:
    model = Doubling()
    made, clock, statistics = turn(model)
    gone, late, kept = call(made, 1), call(made, 2, deadline_ns=5), call(made, 3)
    assert len(made) == 3
    gone.cancel()
    clock.now_ns = 5
    await asyncio.wait({gone, late, kept})
    assert values(kept.result()) == [6]
    assert model.rows == [1]
    with pytest.raises(DeadlineExceeded):
        late.result()
    assert statistics.snapshot("m", "1", now_ns=0, now_ms=0).fails == {"CANCELED": 1, "REJECTED": 1}


class Broken:
    """A rider with a bug."""

    gone = False

    def ran(self, inference: Inference) -> None:
        raise ZeroDivisionError(str(inference.batch_i))

    def failed(self, error: Exception) -> None:
        raise ZeroDivisionError(str(error))


def broken(made: Turn, value: float = 1, deadline_ns: int | None = None) -> None:
    made.join(Broken(), {"x": np.full((1, 1), value, np.float32)}, 1, 3, deadline_ns)


async def test_a_rider_that_raises_takes_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    model = Doubling()
    made, _, statistics = turn(model)
    first = call(made, 1)
    broken(made)
    last = call(made, 3)
    await asyncio.wait({first, last})
    assert (values(first.result()), values(last.result()), model.rows) == ([2], [6], [3])
    assert [entry.message for entry in caplog.records] == ["serving.rider_failed"]
    assert statistics.snapshot("m", "1", now_ns=0, now_ms=0).success.count == 3


async def test_nor_when_it_is_told_that_it_did_not_run(caplog: pytest.LogCaptureFixture) -> None:
    model = Doubling()
    made, clock, _ = turn(model)
    broken(made, deadline_ns=5)
    broken(made, -1)
    kept = call(made, 3)
    clock.now_ns = 5
    assert values(await kept) == [6]
    assert values(await call(made, 4)) == [8]
    assert len(made) == 0
    assert [entry.message for entry in caplog.records] == ["serving.rider_failed"] * 2


async def test_whatever_keeps_a_batch_from_running_is_told() -> None:
    class Full(Doubling):
        def run(self, inputs: Arrays) -> Sequence[Array]:
            raise MemoryError

    made, _, _ = turn(Full())
    calls = {call(made, 1), call(made, 2)}
    await asyncio.wait(calls, timeout=1)
    for each in calls:
        with pytest.raises(MemoryError):
            each.result()
