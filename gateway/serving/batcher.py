"""Batching while busy: an idle instance runs what arrived in this turn of the loop; what arrives while all are busy
becomes the next batch.

Load makes the batches, no timer does. Everything but the run itself happens on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import msgspec
import numpy as np

from gateway.errors import Cancelled, DeadlineExceeded, Draining, ModelFailed, Overloaded, Unavailable
from gateway.serving.batch_queue import BatchQueue, Rule, Waiting
from gateway.serving.datatypes import Array
from gateway.serving.forecast import Forecast
from gateway.serving.in_order import InOrder
from gateway.serving.patience import Patience, Wish
from gateway.serving.servable import Arrays
from gateway.serving.statistics import Statistics, Timing
from gateway.types import Parameters, Tensor

Run: TypeAlias = Callable[[Arrays], Sequence[Array]]
"""Runs the model once. Blocking, thread-safe. Raises: ModelFailed."""

Encode: TypeAlias = Callable[[Sequence[Array]], tuple[Tensor, ...]]
"""Turns a call's own rows of the outputs into tensors. In the thread of the run."""


class Share(msgspec.Struct, frozen=True, gc=False):
    """One call's part of a run: its outputs, the run's times, and its first row in the batch."""

    outputs: tuple[Tensor, ...]
    timing: Timing
    batch_i: int = 0


_NONE: Parameters = MappingProxyType({})
Future: TypeAlias = "asyncio.Future[Share]"
Call: TypeAlias = Waiting[Future]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one model's queue. ``instances`` runs at once; ``max_queue`` calls may wait, and of these no more than
    start within ``budget_ns`` (0: no such bound) or with the next run. ``patience`` is what the operator says of this
    model, and ``ordered`` whether it must answer in the order of arrival."""

    instances: int = 1
    max_queue: int = 1024
    budget_ns: int = 0
    patience: Patience = field(default_factory=Patience)
    ordered: bool = False


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
        self._most_rows = max(rule.max_rows, 1)
        self._queue: BatchQueue[Future] = BatchQueue(rule)
        self._forecast = Forecast()
        self._order: InOrder[Call] | None = InOrder() if limits.ordered else None
        self._idle = limits.instances
        self._alarm: asyncio.TimerHandle | None = None
        self._roused = False
        self._running = 0

    def __len__(self) -> int:
        """Calls that wait."""
        return len(self._queue)

    @property
    def entered(self) -> int:
        """Calls that wait or run."""
        return len(self._queue) + self._running

    async def infer(
        self, inputs: Arrays, rows: int, deadline_ns: int | None = None, parameters: Parameters = _NONE
    ) -> Share:
        """This call's share of the run it took part in. A cancelled caller leaves the queue. ``parameters`` are the
        request's, of which ``priority`` and ``timeout`` count here.

        Raises: ModelFailed; Overloaded when it would wait too long, Unavailable when the queue is full or waiting took
        too long; DeadlineExceeded when the deadline passed before the run.
        """
        wish = self._limits.patience.wish(parameters)
        now = self._clock_ns()
        self._admit(wish, now, deadline_ns)
        loop = asyncio.get_running_loop()
        late_ns = now + wish.timeout_ns if wish.timeout_ns else None
        expires_ns = deadline_ns
        if late_ns is not None and not wish.yields:
            expires_ns = late_ns if deadline_ns is None else min(late_ns, deadline_ns)
        call: Call = Waiting(
            loop.create_future(), inputs, rows, now, expires_ns, late_ns=late_ns, priority=wish.priority
        )
        self._queue.push(call)
        if self._order is not None:
            self._order.joined(call)
        if self._idle and not self._roused:
            # Not this instant: what arrives in the same turn of the loop shares the run.
            self._roused = True
            loop.call_soon(self._dispatch)
        try:
            return await call.caller
        except asyncio.CancelledError:
            if self._queue.remove(call):
                self._statistics.failed("CANCELED", self._clock_ns() - call.since_ns)
                self._end(call, _nothing)
            raise

    def _admit(self, wish: Wish, now: int, deadline_ns: int | None) -> None:
        limits, waiting = self._limits, len(self._queue)
        if wish.most_waiting and self._queue.length(wish.priority) >= wish.most_waiting:
            raise Unavailable(f"inference request to model '{self._model}': Exceeds maximum queue size")
        if waiting >= limits.max_queue:
            raise Overloaded(f"{waiting} calls wait for model '{self._model}'; retry later", retry_after_ms=100)
        if self._idle:  # whatever was measured: an idle instance takes every call, and is measured again
            return
        ahead = self._queue.rows_before(wish.priority) // self._most_rows
        wait_ns = self._forecast.wait_ns(ahead, limits.instances)
        if limits.budget_ns and ahead >= limits.instances and wait_ns > limits.budget_ns:
            raise self._too_long(wait_ns, f"the limit is {limits.budget_ns / 1e6:.0f} ms")
        if deadline_ns is not None and now < deadline_ns < now + wait_ns + self._forecast.run_ns:
            raise self._too_long(wait_ns, f"the deadline passes in {(deadline_ns - now) / 1e6:.0f} ms")

    def _too_long(self, wait_ns: float, limit: str) -> Overloaded:
        wait_ms = int(wait_ns / 1e6) + 1
        text = (
            f"a call waits {wait_ms} ms for model '{self._model}' now, then runs {self._forecast.run_ns / 1e6:.0f} ms"
        )
        return Overloaded(f"{text}; {limit}; retry later", retry_after_ms=wait_ms)

    def _dispatch(self) -> None:
        """Give every idle instance the next batch; if one still waits to grow, come back when it is due."""
        self._roused = False
        now = self._clock_ns()
        for late in self._queue.expire(now):
            self._statistics.failed("REJECTED", now - late.since_ns)
            self._fail(late, self._too_late(late))
        while self._idle and (batch := self._queue.take(now, self._idle)):
            self._start(batch)
        due = self._queue.due_ns()
        if self._idle and due is not None and self._alarm is None:
            delay_s = max(due - now, 0) / 1e9
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._rouse)

    def _start(self, batch: list[Call]) -> None:
        loop = asyncio.get_running_loop()
        started = self._clock_ns()
        try:
            work = loop.run_in_executor(self._executor, self._execute, batch)
        except RuntimeError:  # the executor has been shut down
            for call in batch:
                self._statistics.failed("OTHER", 0)
                self._fail(call, Draining(f"model '{self._model}' is leaving with this gateway"))
            return
        self._idle -= 1
        self._running += len(batch)
        work.add_done_callback(partial(self._finish, batch, started))

    def _rouse(self) -> None:
        self._alarm = None
        self._dispatch()

    def _too_late(self, call: Call) -> Exception:
        if call.late_ns is not None and call.expires_ns == call.late_ns:
            return Unavailable("Request timeout expired")
        return DeadlineExceeded(f"the deadline passed while the call waited for model '{self._model}'")

    def _finish(self, batch: list[Call], started: int, done: asyncio.Future[list[Share | Exception]]) -> None:
        self._idle += 1
        self._running -= len(batch)
        self._forecast.note(self._clock_ns() - started)
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
                self._fail(call, result)
                continue
            if result.timing is not counted:
                counted = result.timing
                self._statistics.executed(counted)
            self._statistics.succeeded(call.rows, call.since_ns, result.timing)
            self._end(call, partial(_answer, call, result))
        self._dispatch()

    def _fail(self, call: Call, error: BaseException) -> None:
        self._end(call, partial(_fail, call, error))

    def _end(self, call: Call, tell: Callable[[], None]) -> None:
        """``tell`` its caller, now or when it is his turn."""
        if self._order is None:
            tell()
        else:
            self._order.ended(call, tell)

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


def _nothing() -> None:
    """Nobody is there to be told."""


def _answer(call: Call, share: Share) -> None:
    if not call.caller.done():
        call.caller.set_result(share)


def _fail(call: Call, error: BaseException) -> None:
    if call.caller.done():
        return
    if isinstance(error, asyncio.CancelledError):
        call.caller.cancel()
    else:
        call.caller.set_exception(error)
