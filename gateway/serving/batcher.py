"""Batching while busy: an idle instance runs what arrived in this turn of the loop; what arrives while all are busy
becomes the next batch.

Load makes the batches, no timer does. Everything but the run itself happens on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import msgspec
import numpy as np

from gateway.errors import Cancelled, DeadlineExceeded, Draining, ModelFailed, Overloaded, Unavailable
from gateway.serving.batch_queue import BatchQueue, Rule, Waiting
from gateway.serving.datatypes import Array
from gateway.serving.servable import Arrays
from gateway.serving.statistics import Statistics, Timing
from gateway.types import Tensor

Run: TypeAlias = Callable[[Arrays], Sequence[Array]]
"""Runs the model once. Blocking, thread-safe. Raises: ModelFailed."""

Encode: TypeAlias = Callable[[Sequence[Array]], tuple[Tensor, ...]]
"""Turns a call's own rows of the outputs into tensors. In the thread of the run."""


class Share(msgspec.Struct, frozen=True, gc=False):
    """One call's part of a run: its outputs, the run's times, and its first row in the batch."""

    outputs: tuple[Tensor, ...]
    timing: Timing
    batch_i: int = 0


Future: TypeAlias = "asyncio.Future[Share]"
Call: TypeAlias = Waiting[Future]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one model's queue. ``instances`` runs at once; ``configured_queue`` is the operator's own bound
    for this model (0: none), ``max_queue`` ours; ``timeout_ns`` ends waiting (0: the deadline alone does)."""

    instances: int = 1
    max_queue: int = 1024
    configured_queue: int = 0
    timeout_ns: int = 0


class Batcher:
    """Runs calls of one model in threads, and counts them. For one event loop."""

    def __init__(
        self,
        model: str,
        run: Run,
        encode: Encode,
        *,
        rule: Rule,
        limits: Limits,
        statistics: Statistics,
        executor: Executor,
        clock_ns: Callable[[], int],
    ) -> None:
        self._model = model
        self._run = run
        self._encode = encode
        self._limits = limits
        self._statistics = statistics
        self._executor = executor
        self._clock_ns = clock_ns
        self._queue: BatchQueue[Future] = BatchQueue(rule)
        self._idle = limits.instances
        self._alarm: asyncio.TimerHandle | None = None
        self._roused = False

    def __len__(self) -> int:
        """Calls that wait."""
        return len(self._queue)

    async def infer(self, inputs: Arrays, rows: int, deadline_ns: int | None = None) -> Share:
        """This call's share of the run it took part in. A cancelled caller leaves the queue.

        Raises: ModelFailed; Overloaded and Unavailable when the queue is full or waiting took too long;
        DeadlineExceeded when the deadline passed before the run.
        """
        self._admit()
        now = self._clock_ns()
        loop = asyncio.get_running_loop()
        call: Call = Waiting(loop.create_future(), inputs, rows, now, self._expiry(now, deadline_ns))
        self._queue.push(call)
        if self._idle and not self._roused:
            # Not this instant: what arrives in the same turn of the loop shares the run.
            self._roused = True
            loop.call_soon(self._dispatch)
        try:
            return await call.caller
        except asyncio.CancelledError:
            if self._queue.remove(call):
                self._statistics.failed("CANCELED", self._clock_ns() - call.since_ns)
            raise

    def _admit(self) -> None:
        waiting = len(self._queue)
        if self._limits.configured_queue and waiting >= self._limits.configured_queue:
            raise Unavailable(f"inference request to model '{self._model}': Exceeds maximum queue size")
        if waiting >= self._limits.max_queue:
            raise Overloaded(f"{waiting} calls wait for model '{self._model}'; retry later", retry_after_ms=100)

    def _expiry(self, now: int, deadline_ns: int | None) -> int | None:
        if not self._limits.timeout_ns:
            return deadline_ns
        own = now + self._limits.timeout_ns
        return own if deadline_ns is None else min(own, deadline_ns)

    def _dispatch(self) -> None:
        """Give every idle instance the next batch; if one still waits to grow, come back when it is due."""
        self._roused = False
        now = self._clock_ns()
        for late in self._queue.expire(now):
            self._statistics.failed("REJECTED", now - late.since_ns)
            _fail(late, self._too_late(late))
        while self._idle and (batch := self._queue.take(now, self._idle)):
            self._start(batch)
        due = self._queue.due_ns()
        if self._idle and due is not None and self._alarm is None:
            delay_s = max(due - now, 0) / 1e9
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._rouse)

    def _start(self, batch: list[Call]) -> None:
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(self._executor, self._execute, batch)
        except RuntimeError:  # the executor has been shut down
            for call in batch:
                self._statistics.failed("OTHER", 0)
                _fail(call, Draining(f"model '{self._model}' is leaving with this gateway"))
            return
        self._idle -= 1
        work.add_done_callback(partial(self._finish, batch))

    def _rouse(self) -> None:
        self._alarm = None
        self._dispatch()

    def _too_late(self, call: Call) -> Exception:
        if self._limits.timeout_ns and call.expires_ns == call.since_ns + self._limits.timeout_ns:
            return Unavailable("Request timeout expired")
        return DeadlineExceeded(f"the deadline passed while the call waited for model '{self._model}'")

    def _finish(self, batch: list[Call], done: asyncio.Future[list[Share | Exception]]) -> None:
        self._idle += 1
        results: Sequence[Share | BaseException]
        if done.cancelled():
            results = [asyncio.CancelledError()] * len(batch)
        elif (error := done.exception()) is not None:
            results = [error] * len(batch)
        else:
            results = done.result()
        counted: Timing | None = None
        for call, result in zip(batch, results, strict=True):
            if not isinstance(result, Share):
                left = isinstance(result, Cancelled)
                self._statistics.failed("CANCELED" if left else "BACKEND", self._clock_ns() - call.since_ns)
                _fail(call, result)
                continue
            if result.timing is not counted:
                counted = result.timing
                self._statistics.executed(counted)
            self._statistics.succeeded(call.rows, call.since_ns, result.timing)
            if not call.caller.done():
                call.caller.set_result(result)
        self._dispatch()

    def _execute(self, batch: list[Call]) -> list[Share | Exception]:
        """In a thread: run the calls whose callers are still there. If that fails, run each alone: one caller's
        inputs must not fail another's call."""
        here = [call for call in batch if not call.caller.done()]
        shares: list[Share | Exception]
        try:
            shares = self._together(here) if len(here) > 1 else [self._alone(call) for call in here]
        except ModelFailed:
            shares = [self._alone(call) for call in here]
        given = dict(zip(map(id, here), shares, strict=True))
        return [given.get(id(call)) or Cancelled("the caller left before the run") for call in batch]

    def _alone(self, call: Call) -> Share | Exception:
        started = self._clock_ns()
        try:
            outputs = self._run(call.inputs)
        except ModelFailed as error:
            return error
        inferred = self._clock_ns()
        tensors = self._encode(outputs)
        return Share(tensors, Timing(call.rows, started, started, inferred, self._clock_ns()))

    def _together(self, batch: list[Call]) -> list[Share | Exception]:
        started = self._clock_ns()
        rows = sum(call.rows for call in batch)
        inputs = {name: np.concatenate([call.inputs[name] for call in batch]) for name in batch[0].inputs}
        joined = self._clock_ns()
        outputs = self._run(inputs)
        if any(array.shape[:1] != (rows,) for array in outputs):
            raise ModelFailed(f"model '{self._model}' did not answer with one row for each input row")
        inferred = self._clock_ns()
        parts: list[tuple[tuple[Tensor, ...], int]] = []
        first = 0
        for call in batch:
            parts.append((self._encode([array[first : first + call.rows] for array in outputs]), first))
            first += call.rows
        timing = Timing(rows, started, joined, inferred, self._clock_ns())
        return [Share(tensors, timing, first) for tensors, first in parts]


def _fail(call: Call, error: BaseException) -> None:
    if call.caller.done():
        return
    if isinstance(error, asyncio.CancelledError):
        call.caller.cancel()
    else:
        call.caller.set_exception(error)
