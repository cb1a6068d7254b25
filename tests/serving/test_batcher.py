"""Batching while busy, with a model that runs when the test lets it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from serving_fakes import settle

from gateway.errors import DeadlineExceeded, Draining, ModelFailed, Overloaded, Unavailable
from gateway.serving.batch_queue import Rule
from gateway.serving.batcher import Batcher, Limits, Share
from gateway.serving.datatypes import Array
from gateway.serving.patience import Patience
from gateway.serving.servable import Arrays
from gateway.serving.settings import QueuePolicy
from gateway.serving.statistics import Statistics
from gateway.types import Tensor


class Doubler:
    """y = 2 x, when the gate is open. Refuses inputs with a negative number, as a model may."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[int] = []

    def run(self, inputs: Arrays) -> Sequence[Array]:
        assert self.gate.wait(10)
        x = inputs["x"]
        self.batches.append(len(x))
        if (x < 0).any():
            raise ModelFailed("negative")
        return [x * 2]

    def encode(self, outputs: Sequence[Array]) -> tuple[Tensor, ...]:
        return tuple(Tensor(name="y", datatype="FP32", shape=a.shape, data=a.tobytes()) for a in outputs)


class Bench:
    """A batcher around a ``Doubler``."""

    def __init__(self, executor: ThreadPoolExecutor, rule: Rule | None = None, **limits: Any) -> None:
        self.model = Doubler()
        self.statistics = Statistics()
        self.batcher = Batcher(
            "m",
            self.model.run,
            self.model.encode,
            rule=rule or Rule(8),
            limits=Limits(**limits),
            statistics=self.statistics,
            executor=executor,
            clock_ns=time.monotonic_ns,
        )

    def call(self, *values: float, deadline_ns: int | None = None) -> asyncio.Task[Share]:
        x = np.array([[v] for v in values], np.float32)
        return asyncio.create_task(self.batcher.infer({"x": x}, len(x), deadline_ns))

    async def busy(self) -> asyncio.Task[Share]:
        """Occupy the one instance."""
        first = self.call(100)
        await settle()
        return first

    def snapshot(self):  # type: ignore[no-untyped-def]
        return self.statistics.snapshot("m", "1", now_ns=time.monotonic_ns(), now_ms=0)


def values(share: Share) -> list[float]:
    return np.frombuffer(share.outputs[0].data, np.float32).tolist()


async def test_an_idle_instance_runs_at_once_and_what_arrives_meanwhile_runs_together(
    executor: ThreadPoolExecutor,
) -> None:
    bench = Bench(executor)
    first = await bench.busy()
    others = [bench.call(1), bench.call(2, 3), bench.call(4)]
    await settle()
    assert len(bench.batcher) == 3
    bench.model.gate.set()
    shares = await asyncio.gather(first, *others)
    assert bench.model.batches == [1, 4]
    assert [values(share) for share in shares] == [[200], [2], [4, 6], [8]]
    assert [(share.timing.rows, share.batch_i) for share in shares] == [(1, 0), (4, 0), (4, 1), (4, 3)]


async def test_a_batch_never_exceeds_its_limit_and_no_call_is_split(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor, Rule(4))
    first = await bench.busy()
    others = [bench.call(1, 2, 3), bench.call(4, 5), bench.call(6)]
    await settle()
    bench.model.gate.set()
    shares = await asyncio.gather(first, *others)
    assert bench.model.batches == [1, 3, 3]
    assert [values(share) for share in shares[1:]] == [[2, 4, 6], [8, 10], [12]]


async def test_a_caller_who_left_is_not_run(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor)
    first = await bench.busy()
    gone, stays = bench.call(1), bench.call(2)
    await settle()
    gone.cancel()
    await settle()
    assert len(bench.batcher) == 1
    bench.model.gate.set()
    await asyncio.gather(first, stays)
    assert bench.model.batches == [1, 1]
    assert bench.snapshot().fails == {"CANCELED": 1}


async def test_a_caller_who_left_while_the_threads_were_busy_is_not_run(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor, instances=4)
    busy = [await bench.busy(), await bench.busy()]
    gone = bench.call(1, 2, 3)
    await settle()
    assert len(bench.batcher) == 0
    gone.cancel()
    await settle()
    bench.model.gate.set()
    await asyncio.gather(*busy)
    await asyncio.to_thread(executor.shutdown)
    await settle()
    assert bench.model.batches == [1, 1]
    assert bench.snapshot().fails == {"CANCELED": 1}


async def test_after_the_threads_are_gone_calls_are_refused(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor)
    executor.shutdown()
    with pytest.raises(Draining, match="is leaving with this gateway"):
        await bench.call(1)


async def test_a_caller_whose_deadline_passed_is_not_run(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor)
    first = await bench.busy()
    late = bench.call(1, deadline_ns=time.monotonic_ns() + 1)
    await asyncio.sleep(0.001)
    bench.model.gate.set()
    with pytest.raises(DeadlineExceeded, match="while the call waited for model 'm'"):
        await late
    await first
    assert bench.model.batches == [1]


async def test_a_queue_timeout_is_tritons(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor, patience=Patience(default=QueuePolicy(default_timeout_us=1)))
    bench.model.gate.set()
    await bench.busy()
    late = bench.call(1)
    with pytest.raises(Unavailable, match=r"^Request timeout expired$"):
        await late


async def test_one_bad_input_fails_its_own_call_only(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor)
    first = await bench.busy()
    good, bad, also_good = bench.call(1), bench.call(-1), bench.call(3)
    await settle()
    bench.model.gate.set()
    await first
    assert values(await good) == [2]
    assert values(await also_good) == [6]
    with pytest.raises(ModelFailed, match="negative"):
        await bad
    assert bench.snapshot().fails == {"BACKEND": 1}


async def test_a_full_queue_refuses_at_once(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor, max_queue=1)
    calls = [await bench.busy(), bench.call(1)]
    await settle()
    with pytest.raises(Overloaded, match="1 calls wait for model 'm'"):
        await bench.call(2)
    configured = Bench(executor, patience=Patience(default=QueuePolicy(max_queue_size=1)))
    calls += [await configured.busy(), configured.call(1)]
    await settle()
    with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
        await configured.call(2)
    bench.model.gate.set()
    configured.model.gate.set()
    await asyncio.gather(*calls)


async def test_instances_run_side_by_side(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor, instances=2)
    calls = [await bench.busy(), bench.call(2)]
    await settle()
    assert len(bench.batcher) == 0
    bench.model.gate.set()
    await asyncio.gather(*calls)
    assert bench.model.batches == [1, 1]


async def test_what_arrives_in_one_turn_of_the_loop_shares_a_run_even_when_idle(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor)
    bench.model.gate.set()
    await asyncio.gather(bench.call(1), bench.call(2), bench.call(3))
    assert bench.model.batches == [3]


async def test_a_delay_gathers_a_batch_even_when_idle(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor, Rule(8, delay_ns=20_000_000))
    bench.model.gate.set()
    calls = [bench.call(1), bench.call(2)]
    shares = await asyncio.gather(*calls)
    assert bench.model.batches == [2]
    assert [values(share) for share in shares] == [[2], [4]]


async def test_the_statistics_keep_their_laws(executor: ThreadPoolExecutor) -> None:
    bench = Bench(executor)
    calls = [await bench.busy(), bench.call(1), bench.call(2, 3), bench.call(4)]
    await settle()
    bench.model.gate.set()
    await asyncio.gather(*calls)
    seen = bench.snapshot()
    assert {rows: batch.count for rows, batch in seen.batches.items()} == {1: 1, 4: 1}
    assert seen.execution_count == sum(batch.count for batch in seen.batches.values()) == 2
    assert seen.inference_count == sum(rows * batch.count for rows, batch in seen.batches.items()) == 5
    assert seen.queue.count == seen.success.count == 4
    assert seen.success.ns >= seen.queue.ns + seen.compute_infer.ns
