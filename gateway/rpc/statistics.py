"""ModelStatistics: counts and durations of ready versions, as perf_analyzer and Triton's clients read them.

Denied calls are in none of these counters: they never reached a model (``gateway usage`` and /metrics have them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from gateway.errors import InvalidInput
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed
from gateway.rpc.models import Models
from gateway.serving.statistics import BatchStatistics, Duration, ModelStatistics
from gateway.serving.version_policy import State
from gateway.transport.seam import Unary
from gateway.types import ModelRef
from gateway.v1 import inference as v1

Counted: TypeAlias = Callable[[], Sequence[ModelStatistics]]
"""The statistics of all loaded versions, each summed over workers."""


def statistics_methods(governed: Governed, models: Models, counted: Counted) -> Mapping[str, Unary]:
    """Handlers by method name."""

    async def answer(asked: Asked[v1.ModelStatisticsRequest]) -> v1.ModelStatisticsResponse:
        request = asked.request
        ready = [(row.name, row.version) for row in models.index() if row.state is State.READY]
        if request.name:
            wanted = _of_one(asked, ready)
        else:
            refs = sorted({ModelRef(name) for name, _ in ready}, key=str)
            visible = {ref.name for ref in await governed.gate.visible(asked.context, refs)}
            wanted = [(name, version) for name, version in ready if name in visible]
        found = {(counts.name, counts.version): counts for counts in counted()}
        rows = [found.get(key) or ModelStatistics(name=key[0], version=key[1]) for key in wanted]
        return v1.ModelStatisticsResponse(model_stats=[to_wire(row) for row in rows])

    def ref(request: v1.ModelStatisticsRequest) -> ModelRef | None:
        return ModelRef(request.name, request.version) if request.name else None

    return {
        "ModelStatistics": governed.unary(actions.STATISTICS, v1.ModelStatisticsRequest, answer, ref=ref, resolve=False)
    }


def _of_one(asked: Asked[v1.ModelStatisticsRequest], ready: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The ready versions that a request with a name means. Raises: InvalidInput with the text clients match on."""
    name, servable = asked.request.name, asked.permit.servable
    version = servable.version if servable is not None and asked.request.version else ""
    found = [key for key in ready if key[0] == name and version in ("", key[1])]
    if not found or (asked.request.version and not version):
        raise InvalidInput(f"requested model version is not available for model '{name}'")
    return found


def to_wire(row: ModelStatistics) -> v1.ModelStatistics:
    """One version's statistics as a message; the eight durations are present even where they are zero."""
    return v1.ModelStatistics(
        name=row.name,
        version=row.version,
        last_inference=row.last_inference_ms,
        inference_count=row.inference_count,
        execution_count=row.execution_count,
        inference_stats=v1.InferStatistics(
            success=_duration(row.success),
            fail=_duration(row.fail),
            queue=_duration(row.queue),
            compute_input=_duration(row.compute_input),
            compute_infer=_duration(row.compute_infer),
            compute_output=_duration(row.compute_output),
            cache_hit=v1.StatisticDuration(),
            cache_miss=v1.StatisticDuration(),
        ),
        batch_stats=[_batch(rows, batch) for rows, batch in row.batches.items()],
    )


def _duration(duration: Duration) -> v1.StatisticDuration:
    return v1.StatisticDuration(count=duration.count, ns=duration.ns)


def _batch(rows: int, batch: BatchStatistics) -> v1.InferBatchStatistics:
    return v1.InferBatchStatistics(
        batch_size=rows,
        compute_input=v1.StatisticDuration(count=batch.count, ns=batch.compute_input_ns),
        compute_infer=v1.StatisticDuration(count=batch.count, ns=batch.compute_infer_ns),
        compute_output=v1.StatisticDuration(count=batch.count, ns=batch.compute_output_ns),
    )
