"""Short calls of one turn of the event loop, run together: what arrived together costs one run.

Nobody waits for company. The run is what the loop does next, after the tasks that are ready now; a lone call runs
alone. Everything happens on the event loop, so a run is bounded by what its calls would take one by one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from gateway.errors import DeadlineExceeded
from gateway.serving.batch_queue import Shapes, shapes_of
from gateway.serving.datatypes import Array
from gateway.serving.pace import Pace
from gateway.serving.servable import Arrays, Inference, Rider
from gateway.serving.share import Share
from gateway.serving.statistics import Statistics, Timing
from gateway.types import Tensor

log = logging.getLogger(__name__)
_FAILED = "serving.rider_failed"

Run: TypeAlias = Callable[[Arrays], Sequence[Array]]
Split: TypeAlias = Callable[[Sequence[Array], Sequence[int]], Sequence[tuple[Tensor, ...]]]
"""The outputs of a run as tensors, for each call of so many rows."""

BLOCK_NS = 1_000_000
"""What one run may take of the loop, judged by what its calls take alone."""


class _Call:
    __slots__ = ("deadline_ns", "inputs", "rider", "rows", "since_ns", "size")

    def __init__(
        self, rider: Rider, inputs: Arrays, rows: int, size: int, since_ns: int, deadline_ns: int | None
    ) -> None:
        self.rider = rider
        self.inputs = inputs
        self.rows = rows
        self.size = size
        self.since_ns = since_ns
        self.deadline_ns = deadline_ns


class Turn:
    """Runs calls of one model on the event loop, at most ``max_rows`` rows at once; 0 runs every call alone."""

    def __init__(
        self,
        model: str,
        run: Run,
        split: Split,
        *,
        max_rows: int,
        pace: Pace,
        statistics: Statistics,
        clock_ns: Callable[[], int],
    ) -> None:
        self._model = model
        self._run = run
        self._split = split
        self._max_rows = max_rows
        self._pace = pace
        self._statistics = statistics
        self._clock_ns = clock_ns
        self._calls: list[_Call] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """Calls that wait for the end of the turn."""
        return len(self._calls)

    def join(self, rider: Rider, inputs: Arrays, rows: int, size: int, deadline_ns: int | None) -> None:
        """Let ``rider`` have its share of the run at the end of the turn, unless it is gone by then."""
        if not self._calls:
            self._soon()
        self._calls.append(_Call(rider, inputs, rows, size, self._clock_ns(), deadline_ns))

    def infer(self, inputs: Arrays, rows: int, size: int, deadline_ns: int | None) -> asyncio.Future[Inference]:
        """As ``join``, for a task: cancelling the future takes the call out.

        Awaiting raises: ModelFailed, DeadlineExceeded.
        """
        share = Share()
        self.join(share, inputs, rows, size, deadline_ns)
        return share

    def _soon(self) -> None:
        loop = self._loop
        if loop is None:  # asked once: before Python 3.12 each asking is a system call
            loop = self._loop = asyncio.get_running_loop()
        loop.call_soon(self._end)

    def _end(self) -> None:
        """Run what waits; what is too much for one run is the loop's next work but one."""
        waiting, self._calls = self._calls, []
        calls = self._wanted(waiting)
        if not calls:
            return
        batch, rest = self._first(calls)
        if rest:
            self._calls = rest
            self._soon()
        if len(batch) > 1 and self._together(batch):
            return
        for call in batch:  # one caller's inputs must not fail another's call
            self._together([call])

    def _wanted(self, calls: list[_Call]) -> list[_Call]:
        """``calls`` without those whose caller is gone or too late."""
        now = self._clock_ns()
        wanted = []
        for call in calls:
            if call.rider.gone:
                self._statistics.failed("CANCELED", now - call.since_ns)
            elif call.deadline_ns is not None and now >= call.deadline_ns:
                self._statistics.failed("REJECTED", now - call.since_ns)
                self._fail(call, DeadlineExceeded(f"the deadline passed before model '{self._model}' ran"))
            else:
                wanted.append(call)
        return wanted

    def _first(self, calls: list[_Call]) -> tuple[list[_Call], list[_Call]]:
        """The calls that run together now, and those that do not: other shapes, too many rows, too much time."""
        if len(calls) == 1 or not self._max_rows:
            return calls[:1], calls[1:]
        first = calls[0]
        shapes: Shapes = shapes_of(first.inputs)
        alone_ns = self._pace.expected_ns(first.size)
        most = BLOCK_NS // max(alone_ns, 1) if alone_ns is not None else 1
        batch, rest, rows = [first], [], first.rows
        for call in calls[1:]:
            fits = len(batch) < most and rows + call.rows <= self._max_rows
            if fits and shapes_of(call.inputs) == shapes:
                batch.append(call)
                rows += call.rows
            else:
                rest.append(call)
        return batch, rest

    def _together(self, batch: list[_Call]) -> bool:
        """Run ``batch`` and answer its callers; False when a batch of several failed and nobody was answered."""
        size, watched = batch[0].size, self._pace.is_watched(batch[0].size)
        cpu_ns = time.thread_time_ns() if watched else 0
        started = self._clock_ns()
        try:
            if len(batch) == 1:
                inputs, joined = batch[0].inputs, started
            else:
                names = batch[0].inputs
                inputs = {name: np.concatenate([call.inputs[name] for call in batch]) for name in names}
                joined = self._clock_ns()
            outputs = self._run(inputs)
            shares = self._split(outputs, [call.rows for call in batch])
        except Exception as error:  # noqa: BLE001  # ModelFailed, or what makes no memory for the batch
            if len(batch) > 1:
                return False
            self._statistics.failed("BACKEND", self._clock_ns() - started)
            self._fail(batch[0], error)
            return True
        inferred = self._clock_ns()
        spent = time.thread_time_ns() - cpu_ns if watched else 0
        self._pace.note(size, (inferred - started) // len(batch), spent // len(batch))
        rows = sum([call.rows for call in batch])
        timing = Timing(rows, started, joined, inferred, inferred)
        self._statistics.executed(timing)
        self._statistics.succeeded(rows, sum([call.since_ns for call in batch]), timing, len(batch))
        first = 0
        for call, share in zip(batch, shares, strict=True):
            try:
                call.rider.ran(Inference(share, started, rows, first))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # a bug of one call, and the others have run
                log.exception(_FAILED, extra={"model": self._model})
            first += call.rows
        return True

    def _fail(self, call: _Call, error: Exception) -> None:
        """Tell one caller that his call did not run."""
        try:
            call.rider.failed(error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            log.exception(_FAILED, extra={"model": self._model})
