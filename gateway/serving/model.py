"""A loaded model as a servable: where its runs happen, and how arrays become tensors again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from gateway.errors import DeadlineExceeded
from gateway.serving.datatypes import Array, to_raw
from gateway.serving.pace import Pace, size_of
from gateway.serving.servable import Arrays, Inference, ValidTensors
from gateway.serving.settings import ModelSettings
from gateway.serving.signature import ModelSignature
from gateway.serving.spec import TensorSpec, fits, refill
from gateway.types import ModelFacts, ServableId, Tensor


class Model(Protocol):
    """A graph that can be run. Thread-safe."""

    def run(self, inputs: Arrays) -> Sequence[Array]:
        """One array for each of the signature's outputs, in order. Blocking. Raises: ModelFailed."""
        ...

    def close(self) -> None: ...


class ModelServable:
    """One loaded version. Short runs happen on the event loop, long ones in a thread (``pace.py``).

    ``infer`` belongs to one event loop.
    """

    def __init__(
        self,
        *,
        facts: ModelFacts,
        signature: ModelSignature,
        settings: ModelSettings,
        model: Model,
        pace: Pace,
        executor: Executor,
        instances: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self.facts = facts
        self.signature = signature
        self.settings = settings
        self._model = model
        self._pace = pace
        self._executor = executor
        self._free = asyncio.Semaphore(instances)
        self._clock_ns = clock_ns

    @property
    def id(self) -> ServableId:
        return self.facts.id

    async def infer(self, inputs: ValidTensors, *, deadline_ns: int | None = None) -> Inference:
        """Run the model on ``inputs``. A short run does not suspend.

        Raises: ModelFailed; DeadlineExceeded when the deadline passed before the run.
        """
        size = size_of(inputs)
        if self._pace.is_short(size):
            started = self._started(deadline_ns)
            outputs = self._model.run(inputs)
            self._pace.note(size, self._clock_ns() - started)
        else:
            async with self._free:
                started = self._started(deadline_ns)
                loop = asyncio.get_running_loop()
                outputs, took = await loop.run_in_executor(self._executor, self._timed, inputs)
                self._pace.note(size, took)
        return Inference(outputs=self._tensors(outputs), started_ns=started, batch_n=self.signature.rows(inputs))

    def close(self) -> None:
        self._model.close()

    def _started(self, deadline_ns: int | None) -> int:
        now = self._clock_ns()
        if deadline_ns is not None and now >= deadline_ns:
            raise DeadlineExceeded(f"the deadline passed before model '{self.facts.id.name}' ran")
        return now

    def _timed(self, inputs: Arrays) -> tuple[Sequence[Array], int]:
        started = self._clock_ns()
        outputs = self._model.run(inputs)
        return outputs, self._clock_ns() - started

    def _tensors(self, outputs: Sequence[Array]) -> tuple[Tensor, ...]:
        return tuple([tensor_of(s, array) for s, array in zip(self.signature.outputs, outputs, strict=True)])


def tensor_of(spec: TensorSpec, array: Array) -> Tensor:
    """The output tensor that ``array`` is, in the shape that callers see."""
    shape = array.shape
    if spec.reshape is not None and fits(spec.reshape, shape):
        shape = refill(spec.shape, spec.reshape, shape)
    return Tensor(name=spec.name, datatype=spec.datatype, shape=shape, data=to_raw(array, spec.datatype))
