"""A loaded model as a servable: where its runs happen, and how arrays become tensors again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from types import MappingProxyType
from typing import Protocol

from gateway.errors import ModelFailed
from gateway.serving.batch_queue import Rule
from gateway.serving.batcher import Batcher, Limits
from gateway.serving.datatypes import Array
from gateway.serving.pace import Pace, size_of
from gateway.serving.servable import Arrays, Inference, Rider, ValidTensors
from gateway.serving.settings import ModelSettings
from gateway.serving.signature import ModelSignature
from gateway.serving.statistics import ModelStatistics, Statistics
from gateway.serving.tensors import pieces_of, tensor_of
from gateway.serving.turn import Turn
from gateway.types import ModelFacts, Parameters, ServableId, Tensor

_NONE: Parameters = MappingProxyType({})


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
        self._turn = Turn(
            facts.id.name,
            model.run,
            self._split,
            max_rows=rule.max_rows,
            pace=pace,
            statistics=self._statistics,
            clock_ns=clock_ns,
        )

    @property
    def id(self) -> ServableId:
        return self.facts.id

    def infer(
        self, inputs: ValidTensors, *, deadline_ns: int | None = None, parameters: Parameters = _NONE
    ) -> Awaitable[Inference]:
        """Run the model on ``inputs``: a short run with the others of this turn of the loop, a long one in a thread.

        Awaiting raises: ModelFailed; DeadlineExceeded when the deadline passed before the run; Overloaded, Unavailable
        when the queue is full.
        """
        size = size_of(inputs)
        rows = self.signature.rows(inputs)
        if self._pace.is_short(size):
            return self._turn.infer(inputs, rows, size, deadline_ns)
        return self._in_thread(inputs, rows, size, deadline_ns, parameters)

    def join(self, rider: Rider, inputs: ValidTensors, rows: int, deadline_ns: int | None = None) -> bool:
        """Let ``rider`` share the run of this turn of the loop; False, and nothing is done, where runs are long."""
        size = size_of(inputs)
        if not self._pace.is_short(size):
            return False
        self._turn.join(rider, inputs, rows, size, deadline_ns)
        return True

    async def _in_thread(
        self, inputs: ValidTensors, rows: int, size: int, deadline_ns: int | None, parameters: Parameters
    ) -> Inference:
        share = await self._batcher.infer(inputs, rows, deadline_ns, parameters)
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

    def waiting(self) -> int:
        """Calls that wait for the end of the turn or for a batch."""
        return len(self._turn) + len(self._batcher)

    def in_threads(self) -> int:
        """Calls that run in a thread, or wait to."""
        return self._batcher.entered

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def _split(self, outputs: Sequence[Array], rows: Sequence[int]) -> list[tuple[Tensor, ...]]:
        """``outputs`` of one run as tensors, for each call of so many ``rows``. Raises: ModelFailed."""
        if len(rows) == 1:
            return [self._tensors(outputs)]
        total = sum(rows)
        if any(array.shape[:1] != (total,) for array in outputs):
            raise ModelFailed(f"model '{self.id.name}' did not answer with one row for each input row")
        columns = [pieces_of(spec, array, rows) for spec, array in zip(self.signature.outputs, outputs, strict=True)]
        return list(zip(*columns, strict=True))

    def _tensors(self, outputs: Sequence[Array]) -> tuple[Tensor, ...]:
        return tuple([tensor_of(spec, array) for spec, array in zip(self.signature.outputs, outputs, strict=True)])
