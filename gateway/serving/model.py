"""A loaded model as a servable: where its runs happen, and how arrays become tensors again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from gateway.errors import DeadlineExceeded, ModelFailed
from gateway.serving.batch_queue import Rule
from gateway.serving.batcher import Batcher, Limits
from gateway.serving.datatypes import Array, to_raw
from gateway.serving.pace import Pace, size_of
from gateway.serving.servable import Arrays, Inference, ValidTensors
from gateway.serving.settings import ModelSettings
from gateway.serving.signature import ModelSignature
from gateway.serving.spec import TensorSpec
from gateway.serving.statistics import ModelStatistics, Statistics, Timing
from gateway.types import ModelFacts, ServableId, Tensor


class Model(Protocol):
    """A graph that can be run. Thread-safe."""

    def run(self, inputs: Arrays) -> Sequence[Array]:
        """One array for each of the signature's outputs, in order. Blocking. Raises: ModelFailed."""
        ...

    def close(self) -> None: ...


class ModelServable:
    """One loaded version. Short runs happen on the event loop (``pace.py``), long ones in threads, batched.

    ``infer`` belongs to one event loop. ``settings`` are complete.
    """

    def __init__(
        self,
        *,
        facts: ModelFacts,
        signature: ModelSignature,
        settings: ModelSettings,
        model: Model,
        pace: Pace,
        rule: Rule,
        limits: Limits,
        executor: Executor,
        clock_ns: Callable[[], int],
    ) -> None:
        self.facts = facts
        self.signature = signature
        self.settings = settings
        self._model = model
        self._pace = pace
        self._clock_ns = clock_ns
        self._statistics = Statistics()
        self._batcher = Batcher(
            facts.id.name,
            model.run,
            self._tensors,
            rule=rule,
            limits=limits,
            statistics=self._statistics,
            executor=executor,
            clock_ns=clock_ns,
        )

    @property
    def id(self) -> ServableId:
        return self.facts.id

    async def infer(self, inputs: ValidTensors, *, deadline_ns: int | None = None) -> Inference:
        """Run the model on ``inputs``. A short run does not suspend; a long one may share a batch.

        Raises: ModelFailed; DeadlineExceeded when the deadline passed before the run; Overloaded, Unavailable
        when the queue is full.
        """
        size = size_of(inputs)
        rows = self.signature.rows(inputs)
        if self._pace.is_short(size):
            return self._here(inputs, rows, size, deadline_ns)
        share = await self._batcher.infer(inputs, rows, deadline_ns)
        timing = share.timing
        if timing.rows == rows:
            self._pace.note(size, timing.inferred_ns - timing.joined_ns)
        else:
            self._pace.shared(size)
        return Inference(
            outputs=share.outputs, started_ns=timing.started_ns, batch_n=timing.rows, batch_i=share.batch_i
        )

    def statistics(self, *, now_ns: int, now_ms: int) -> ModelStatistics:
        """What was counted since the version was loaded; ``now_ns`` is monotonic, ``now_ms`` since 1970."""
        return self._statistics.snapshot(self.id.name, self.id.version, now_ns=now_ns, now_ms=now_ms)

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def _here(self, inputs: Arrays, rows: int, size: int, deadline_ns: int | None) -> Inference:
        """Run on the event loop."""
        watched = self._pace.is_watched(size)
        cpu_ns = time.thread_time_ns() if watched else 0
        started = self._clock_ns()
        if deadline_ns is not None and started >= deadline_ns:
            self._statistics.failed("REJECTED", 0)
            raise DeadlineExceeded(f"the deadline passed before model '{self.id.name}' ran")
        try:
            outputs = self._model.run(inputs)
        except ModelFailed:
            self._statistics.failed("BACKEND", self._clock_ns() - started)
            raise
        inferred = self._clock_ns()
        self._pace.note(size, inferred - started, time.thread_time_ns() - cpu_ns if watched else 0)
        tensors = self._tensors(outputs)
        timing = Timing(rows, started, started, inferred, self._clock_ns())
        self._statistics.executed(timing)
        self._statistics.succeeded(rows, started, timing)
        return Inference(outputs=tensors, started_ns=started, batch_n=rows)

    def _tensors(self, outputs: Sequence[Array]) -> tuple[Tensor, ...]:
        return tuple([tensor_of(spec, array) for spec, array in zip(self.signature.outputs, outputs, strict=True)])


def tensor_of(spec: TensorSpec, array: Array) -> Tensor:
    """The output tensor that ``array`` is, in the shape that callers see."""
    return Tensor(
        name=spec.name, datatype=spec.datatype, shape=spec.outside(array.shape), data=to_raw(array, spec.datatype)
    )
