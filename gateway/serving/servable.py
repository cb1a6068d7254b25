"""What a loaded model is, and what loads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NewType, Protocol, TypeAlias

import msgspec
import numpy as np

from gateway.serving.settings import ModelSettings
from gateway.serving.spec import TensorSpec
from gateway.serving.statistics import ModelStatistics
from gateway.types import ModelFacts, Parameters, ServableId, Tensor

Arrays: TypeAlias = Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]
ValidTensors = NewType("ValidTensors", dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"])
"""Inputs that fit a signature. Only ``Signature.validate`` makes them; having them is the proof."""


class ModelUnloadable(Exception):
    """A version that cannot be loaded. The text names the file and the cause: it becomes the version's reason
    in the repository index and one line of log. It never ends a prediction."""


class ModelUnservable(ModelUnloadable):
    """A version whose configuration asks for what is not served here, whatever its files hold."""


class Inference(msgspec.Struct, frozen=True, gc=False):
    """What a run gave: outputs in the model's order, and where in which batch it ran.

    ``started_ns`` is monotonic, when the batch left the queue; ``batch_n`` rows ran together and this
    call's begin at ``batch_i``.
    """

    outputs: tuple[Tensor, ...]
    started_ns: int
    batch_n: int = 1
    batch_i: int = 0


class Rider(Protocol):
    """A call that shares a run of the event loop; it hears once, on the loop, what became of it.

    What it raises is logged: others are to hear, too.
    """

    @property
    def gone(self) -> bool:
        """Nobody waits for the call any more: it need not run, and hears nothing."""
        ...

    def ran(self, inference: Inference) -> None:
        """The call's share of the run."""
        ...

    def failed(self, error: Exception) -> None:
        """It did not run: ModelFailed, or DeadlineExceeded before the run."""
        ...


class Signature(Protocol):
    """A model's inputs and outputs; it turns tensors into ``ValidTensors``: the only way to get them."""

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...

    @property
    def outputs(self) -> Sequence[TensorSpec]: ...

    @property
    def max_batch_size(self) -> int: ...

    def validate(self, inputs: Sequence[Tensor]) -> ValidTensors:
        """Arrays that view the tensors' bytes (no copy) and fit names, datatypes, shapes and the batch limit.

        Raises: InvalidInput naming the input, what came and what was expected.
        """
        ...

    def heavy(self, inputs: Sequence[Tensor]) -> bool:
        """Whether ``validate`` takes so long on these that it should happen in a thread."""
        ...

    def rows(self, inputs: ValidTensors) -> int:
        """Rows of a batching model's inputs; 1 for a model that does not batch."""
        ...


class Servable(Protocol):
    """One loaded model version; immutable until closed."""

    @property
    def id(self) -> ServableId: ...

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def signature(self) -> Signature: ...

    @property
    def settings(self) -> ModelSettings:
        """The configuration in force, completed from the graph."""
        ...

    def infer(
        self, inputs: ValidTensors, *, deadline_ns: int | None = None, parameters: Parameters = ...
    ) -> Awaitable[Inference]:
        """Run the model, batched with others where that is exact; ``parameters`` are the request's.

        Cancelling the awaiting task takes the call out of the queue. Raises: ModelFailed; Overloaded when the
        queue is full; DeadlineExceeded when the deadline passed before the run.
        """
        ...

    def join(self, rider: Rider, inputs: ValidTensors, rows: int, deadline_ns: int | None = None) -> bool:
        """As ``infer`` on ``rows`` rows without a task to wait in: ``rider`` hears of its run, the loop's next work.

        False when runs on these inputs are too long for the loop; then ``infer`` is the way.
        """
        ...

    def statistics(self, *, now_ns: int, now_ms: int) -> ModelStatistics:
        """What was counted since the version was loaded; ``now_ns`` is monotonic, ``now_ms`` since 1970."""
        ...

    def waiting(self) -> int:
        """Calls that wait for a run at this moment."""
        ...

    def in_threads(self) -> int:
        """Calls that run beside the event loop, or wait to."""
        ...

    def close(self) -> None:
        """Free the model. Only called when no lease is out."""
        ...


class Loader(Protocol):
    """Knows how to load one version."""

    @property
    def id(self) -> ServableId: ...

    def estimate_bytes(self) -> int:
        """An upper bound of the memory that ``load`` will take."""
        ...

    def load(self) -> Servable:
        """Load and warm up. Blocking; called off the event loop.

        Raises: ModelUnloadable naming file and cause.
        """
        ...


class Source(Protocol):
    """States which versions should be loaded; what it omits should go."""

    def aspired(self) -> Mapping[str, Sequence[Loader]]:
        """For every model name, the loaders of all versions that should be served.

        May read files: the manager calls it off the event loop, one call at a time.
        """
        ...

    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """For model names, other names of their versions (label to version), as of the last ``aspired``."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed``, on the event loop, whenever ``aspired`` may answer something new."""
        ...
