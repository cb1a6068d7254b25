"""From a graph that can be run to a servable: complete its settings, try it, decide how it is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from gateway.serving.batch_queue import Rule
from gateway.serving.batcher import Limits
from gateway.serving.completion import GraphTensor, complete, signature_of
from gateway.serving.model import Model, ModelServable
from gateway.serving.pace import Pace
from gateway.serving.patience import Patience
from gateway.serving.rehearsal import Read, rehearse
from gateway.serving.servable import ModelUnloadable
from gateway.serving.settings import ModelSettings
from gateway.serving.warmup import Trial, attempt
from gateway.types import ModelFacts, ServableId


class Graph(Model, Protocol):
    """A model that says what it takes and gives."""

    @property
    def inputs(self) -> Sequence[GraphTensor]: ...

    @property
    def outputs(self) -> Sequence[GraphTensor]: ...

    def select(self, outputs: Sequence[str]) -> None:
        """Compute only these outputs, in this order."""
        ...


class Host(Protocol):
    """What this process offers a model that says nothing itself; ``OnnxRuntime`` explains each."""

    @property
    def executor(self) -> Executor: ...

    @property
    def instances(self) -> int: ...

    @property
    def max_queue(self) -> int: ...

    @property
    def budget_ns(self) -> int: ...

    @property
    def default_max_batch_size(self) -> int: ...

    @property
    def clock_ns(self) -> Callable[[], int]: ...


def assemble(id_: ServableId, given: ModelSettings, graph: Graph, pace: Pace, host: Host, read: Read) -> ModelServable:
    """The servable that ``graph`` is under the ``given`` settings. Blocking: it runs the graph a few times, and then
    every warm-up that the settings ask for. ``read`` gives the label and warm-up files that they name.

    A model that could batch by its shapes, but whose answers do not have a row for each row, is served without
    a batch dimension. Raises: ModelUnloadable when its settings contradict it.
    """
    settings = complete(given, graph.inputs, graph.outputs, host.default_max_batch_size)
    servable, trial = _tried(id_, given, settings, graph, pace, host, read)
    if trial.ran and settings.max_batch_size > 1 and not trial.leads:
        if given.max_batch_size:
            raise ModelUnloadable(
                f"max_batch_size is {given.max_batch_size}, but for a batch of 2 rows the outputs do not have 2 rows"
            )
        settings = complete(given, graph.inputs, graph.outputs, 0)
        servable, _ = _tried(id_, given, settings, graph, pace, host, read)
    rehearse(graph, servable.signature, settings.warmups, read)
    return servable


def _tried(
    id_: ServableId,
    given: ModelSettings,
    settings: ModelSettings,
    graph: Graph,
    pace: Pace,
    host: Host,
    read: Read,
) -> tuple[ModelServable, Trial]:
    graph.select([tensor.name for tensor in settings.outputs])
    signature = signature_of(id_.name, settings, _labels(settings, read))
    trial = attempt(graph, signature.inputs, settings.max_batch_size, pace, host.clock_ns)
    servable = ModelServable(
        facts=ModelFacts(id=id_, batching=settings.max_batch_size > 0, labels=settings.metric_tags),
        signature=signature,
        settings=settings,
        model=graph,
        pace=pace,
        rule=_rule(given, settings, trial),
        limits=_limits(settings, host),
        executor=host.executor,
        clock_ns=host.clock_ns,
    )
    return servable, trial


def _rule(given: ModelSettings, settings: ModelSettings, trial: Trial) -> Rule:
    """Calls share a batch when the trial showed that rows are independent or, where made-up inputs showed
    nothing, when the operator asked for batching."""
    batching = settings.dynamic_batching
    asked = given.dynamic_batching is not None and not trial.ran
    if batching is None or not (trial.independent or asked):
        return Rule()
    return Rule(settings.max_batch_size, batching.max_queue_delay_us * 1000, tuple(batching.preferred_batch_size))


def _limits(settings: ModelSettings, host: Host) -> Limits:
    batching = settings.dynamic_batching
    return Limits(
        instances=sum(group.count or 1 for group in settings.instance_groups) or host.instances,
        max_queue=host.max_queue,
        budget_ns=host.budget_ns,
        patience=Patience.of(batching),
        ordered=batching is not None and batching.preserve_ordering,
    )


def _labels(settings: ModelSettings, read: Read) -> dict[str, tuple[str, ...]]:
    """The class names of outputs, one a line in the files that the settings name."""
    files = {tensor.name: tensor.label_filename for tensor in settings.outputs if tensor.label_filename}
    return {name: tuple(read(file).decode("utf-8", "replace").splitlines()) for name, file in files.items()}
