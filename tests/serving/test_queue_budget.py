"""A busy model's queue takes no more than runs in time; priorities, timeouts and order hold while it is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serving_fakes import settle

from gateway.errors import Overloaded, Unavailable
from gateway.serving.batch_queue import Rule
from gateway.serving.batcher import Batcher, Limits, Share
from gateway.serving.datatypes import Array
from gateway.serving.patience import Patience
from gateway.serving.servable import Arrays
from gateway.serving.settings import QueuePolicy
from gateway.serving.statistics import Statistics
from gateway.types import Parameters, Tensor

MS = 1_000_000


class Model:
    """Runs when it is let, takes 10 ms of the clock below each time, and remembers what it ran."""

    def __init__(self) -> None:
        self.turns = threading.Semaphore(0)
        self.ran: list[list[float]] = []
        self.now_ns = 1

    def clock_ns(self) -> int:
        return self.now_ns

    def run(self, inputs: Arrays) -> Sequence[Array]:
        assert self.turns.acquire(timeout=10)
        self.now_ns += 10 * MS
        self.ran.append(inputs["x"][:, 0].tolist())
        return [inputs["x"]]

    def encode(self, outputs: Sequence[Array]) -> tuple[Tensor, ...]:
        return tuple(Tensor(name="y", datatype="FP32", shape=a.shape, data=a.tobytes()) for a in outputs)


class World:
    """One instance behind one queue."""

    def __init__(self, executor: ThreadPoolExecutor, rule: Rule, limits: Limits) -> None:
        self.model = Model()
        self.statistics = Statistics()
        self.batcher = Batcher(
            "m",
            self.model.run,
            self.model.encode,
            rule=rule,
            limits=limits,
            statistics=self.statistics,
            executor=executor,
            clock_ns=self.model.clock_ns,
        )

    async def call(
        self, number: int, deadline_ns: int | None = None, parameters: Parameters | None = None
    ) -> asyncio.Task[Share]:
        """A call that has entered the queue, or was refused."""
        x = np.full((1, 1), number, np.float32)
        task = asyncio.create_task(self.batcher.infer({"x": x}, 1, deadline_ns, parameters or {}))
        await settle()
        return task

    async def ran_once(self) -> None:
        """Let it learn what a run takes, and be idle again."""
        self.model.turns.release()
        await (await self.call(0))
        self.model.ran.clear()

    def let(self, runs: int) -> None:
        self.model.turns.release(runs)


async def test_no_more_wait_than_run_within_the_budget(executor: ThreadPoolExecutor) -> None:
    world = World(executor, Rule(), Limits(budget_ns=35 * MS))
    await world.ran_once()
    calls = [await world.call(number) for number in range(5)]
    late = await world.call(5)
    with pytest.raises(Overloaded, match=r"a call waits 46 ms for model 'm' now, then runs 10 ms; the limit is 35 ms"):
        await late
    assert late.exception().retry_after_ms == 46  # type: ignore[union-attr]
    world.let(5)
    await asyncio.gather(*calls)
    assert world.model.ran == [[0], [1], [2], [3], [4]]


async def test_who_fits_the_next_run_waits_however_slow_the_model_is(executor: ThreadPoolExecutor) -> None:
    world = World(executor, Rule(4), Limits(budget_ns=1))
    await world.ran_once()
    calls = [await world.call(number) for number in range(5)]
    with pytest.raises(Overloaded, match="retry later"):
        await (await world.call(5))
    world.let(2)
    await asyncio.gather(*calls)
    assert world.model.ran == [[0], [1, 2, 3, 4]]


async def test_who_cannot_be_answered_by_his_deadline_is_told_so_at_once(executor: ThreadPoolExecutor) -> None:
    world = World(executor, Rule(), Limits(budget_ns=1000 * MS))
    await world.ran_once()
    calls = [await world.call(number) for number in range(3)]
    now = world.model.now_ns
    with pytest.raises(Overloaded, match=r"waits 26 ms .* runs 10 ms; the deadline passes in 30 ms"):
        await (await world.call(3, deadline_ns=now + 30 * MS))
    calls.append(await world.call(4, deadline_ns=now + 50 * MS))
    world.let(4)
    await asyncio.gather(*calls)


async def test_an_idle_model_takes_every_call_whatever_was_measured(executor: ThreadPoolExecutor) -> None:
    world = World(executor, Rule(), Limits(budget_ns=1))
    await world.ran_once()
    world.let(1)
    await (await world.call(1, deadline_ns=world.model.now_ns + 1))
    assert world.model.ran == [[1]]


async def test_priority_one_goes_first_and_arrival_decides_within_a_level(executor: ThreadPoolExecutor) -> None:
    world = World(executor, Rule(2), Limits(patience=Patience(levels=2, default_level=2)))
    calls = [await world.call(0), await world.call(1), await world.call(2, parameters={"priority": 1})]
    calls += [await world.call(3), await world.call(4, parameters={"priority": 1})]
    world.let(3)
    await asyncio.gather(*calls)
    assert world.model.ran == [[0], [2, 4], [1, 3]]


async def test_who_goes_first_is_not_refused_for_those_behind_him(executor: ThreadPoolExecutor) -> None:
    world = World(executor, Rule(), Limits(budget_ns=15 * MS, patience=Patience(levels=2, default_level=2)))
    await world.ran_once()
    calls = [await world.call(number) for number in range(3)]
    with pytest.raises(Overloaded):
        await (await world.call(3))
    calls.append(await world.call(4, parameters={"priority": 1}))
    world.let(4)
    await asyncio.gather(*calls)
    assert world.model.ran == [[0], [4], [1], [2]]


async def test_who_waited_too_long_is_refused_or_falls_behind(executor: ThreadPoolExecutor) -> None:
    late = QueuePolicy(default_timeout_us=5_000, allow_timeout_override=True)
    world = World(executor, Rule(), Limits(patience=Patience(default=late)))
    calls = [await world.call(0), await world.call(1)]
    world.let(1)  # takes 10 ms, and call 1 may wait for 5
    with pytest.raises(Unavailable, match=r"^Request timeout expired$"):
        await calls[1]
    delay = QueuePolicy(default_timeout_us=15_000, allow_timeout_override=True, timeout_action="delay")
    world = World(executor, Rule(), Limits(patience=Patience(default=delay)))
    calls = [await world.call(0), await world.call(1, parameters={"timeout": 5_000}), await world.call(2)]
    world.let(3)
    await asyncio.gather(*calls)
    assert world.model.ran == [[0], [2], [1]]


async def test_the_queue_of_a_level_has_its_own_size(executor: ThreadPoolExecutor) -> None:
    patience = Patience(levels=2, default_level=1, by_level={2: QueuePolicy(max_queue_size=1)})
    world = World(executor, Rule(), Limits(patience=patience))
    calls = [await world.call(0), await world.call(1, parameters={"priority": 2}), await world.call(2)]
    with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
        await (await world.call(3, parameters={"priority": 2}))
    world.let(3)
    await asyncio.gather(*calls)


async def test_answers_come_in_the_order_of_calls_where_that_is_asked_for(executor: ThreadPoolExecutor) -> None:
    gates = [threading.Event(), threading.Event()]

    def run(inputs: Arrays) -> Sequence[Array]:
        assert gates[int(inputs["x"][0, 0])].wait(10)
        return [inputs["x"]]

    world = World(executor, Rule(), Limits(instances=2, ordered=True))
    world.batcher._run = run
    ended: list[int] = []
    calls = [await world.call(0), await world.call(1)]
    for number, task in enumerate(calls):
        task.add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]
    gates[1].set()
    while world.batcher.entered > 1:
        await asyncio.sleep(0.001)
    await settle()
    assert ended == []
    gates[0].set()
    await asyncio.gather(*calls)
    assert ended == [0, 1]


async def test_who_left_does_not_hold_up_those_behind_him(executor: ThreadPoolExecutor) -> None:
    world = World(executor, Rule(), Limits(ordered=True))
    calls = [await world.call(0), await world.call(1), await world.call(2)]
    calls[1].cancel()
    await settle()
    world.let(2)
    await asyncio.gather(calls[0], calls[2])
    assert world.model.ran == [[0], [2]]
