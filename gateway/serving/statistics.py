"""Counts and times of one loaded version, with the meanings of Triton's ModelStatistics.

Cumulative since the version was loaded. Laws, while no run failed: the batch counts add up to
``execution_count``, the rows of all batches to ``inference_count``, and ``queue.count == success.count``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

FailReason: TypeAlias = Literal["REJECTED", "CANCELED", "BACKEND", "OTHER"]


class Timing(msgspec.Struct, frozen=True, gc=False):
    """One execution, in monotonic ns: taken from the queue, inputs joined, model answered, outputs encoded."""

    rows: int
    started_ns: int
    joined_ns: int
    inferred_ns: int
    encoded_ns: int


@dataclass(frozen=True, slots=True)
class Duration:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """All executions of one batch size; times are per execution, not per call."""

    count: int = 0
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatistics:
    """A snapshot. ``inference_count`` counts rows, ``success`` calls; ``last_inference_ms`` is since 1970."""

    name: str
    version: str
    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    batches: Mapping[int, BatchStatistics] = field(default_factory=dict)
    fails: Mapping[str, int] = field(default_factory=dict)


class Statistics:
    """The cells of one version. One writer, the event loop."""

    __slots__ = (
        "_batches",
        "_fail_ns",
        "_fails",
        "_infer",
        "_input",
        "_last_ns",
        "_output",
        "_queue",
        "_rows",
        "_success",
    )

    def __init__(self) -> None:
        self._rows = 0
        self._success = [0, 0]
        self._queue = 0
        self._input = 0
        self._infer = 0
        self._output = 0
        self._last_ns = 0
        self._fail_ns = 0
        self._fails: dict[str, int] = {}
        self._batches: dict[int, list[int]] = {}

    def executed(self, timing: Timing) -> None:
        """The model ran once."""
        cells = self._batches.get(timing.rows)
        if cells is None:
            cells = self._batches[timing.rows] = [0, 0, 0, 0]
        cells[0] += 1
        cells[1] += timing.joined_ns - timing.started_ns
        cells[2] += timing.inferred_ns - timing.joined_ns
        cells[3] += timing.encoded_ns - timing.inferred_ns
        self._last_ns = timing.started_ns

    def succeeded(self, rows: int, accepted_ns: int, timing: Timing, calls: int = 1) -> None:
        """``calls`` of ``rows`` rows, accepted at times that add up to ``accepted_ns``, were answered by ``timing``."""
        self._rows += rows
        self._success[0] += calls
        self._success[1] += calls * timing.encoded_ns - accepted_ns
        self._queue += calls * timing.started_ns - accepted_ns
        self._input += calls * (timing.joined_ns - timing.started_ns)
        self._infer += calls * (timing.inferred_ns - timing.joined_ns)
        self._output += calls * (timing.encoded_ns - timing.inferred_ns)

    def failed(self, reason: FailReason, ns: int) -> None:
        """A call that had been accepted ended without an answer after ``ns``."""
        self._fails[reason] = self._fails.get(reason, 0) + 1
        self._fail_ns += ns

    def snapshot(self, name: str, version: str, *, now_ns: int, now_ms: int) -> ModelStatistics:
        """All cells; ``now_ns`` is monotonic and ``now_ms`` wall-clock, read together."""
        count, total_ns = self._success
        return ModelStatistics(
            name=name,
            version=version,
            last_inference_ms=now_ms - (now_ns - self._last_ns) // 1_000_000 if self._last_ns else 0,
            inference_count=self._rows,
            execution_count=sum(cells[0] for cells in self._batches.values()),
            success=Duration(count, total_ns),
            fail=Duration(sum(self._fails.values()), self._fail_ns),
            queue=Duration(count, self._queue),
            compute_input=Duration(count, self._input),
            compute_infer=Duration(count, self._infer),
            compute_output=Duration(count, self._output),
            batches={
                rows: BatchStatistics(count=c, compute_input_ns=i, compute_infer_ns=r, compute_output_ns=o)
                for rows, (c, i, r, o) in sorted(self._batches.items())
            },
            fails=dict(self._fails),
        )


def merged(parts: Sequence[ModelStatistics]) -> ModelStatistics:
    """The sum over workers of one version's statistics.

    Raises: ValueError when there are none, or they are not all of one version.
    """
    if len({(part.name, part.version) for part in parts}) != 1:
        raise ValueError(f"expected statistics of one version, got {[(p.name, p.version) for p in parts]}")
    return ModelStatistics(
        name=parts[0].name,
        version=parts[0].version,
        last_inference_ms=max(part.last_inference_ms for part in parts),
        inference_count=sum(part.inference_count for part in parts),
        execution_count=sum(part.execution_count for part in parts),
        success=_sum([part.success for part in parts]),
        fail=_sum([part.fail for part in parts]),
        queue=_sum([part.queue for part in parts]),
        compute_input=_sum([part.compute_input for part in parts]),
        compute_infer=_sum([part.compute_infer for part in parts]),
        compute_output=_sum([part.compute_output for part in parts]),
        batches=_batches([part.batches for part in parts]),
        fails={key: sum(p.fails.get(key, 0) for p in parts) for key in {k for p in parts for k in p.fails}},
    )


def _sum(durations: Sequence[Duration]) -> Duration:
    return Duration(sum(d.count for d in durations), sum(d.ns for d in durations))


def _batches(parts: Sequence[Mapping[int, BatchStatistics]]) -> dict[int, BatchStatistics]:
    found: dict[int, BatchStatistics] = {}
    for part in parts:
        for rows, more in part.items():
            have = found.get(rows, BatchStatistics())
            found[rows] = BatchStatistics(
                count=have.count + more.count,
                compute_input_ns=have.compute_input_ns + more.compute_input_ns,
                compute_infer_ns=have.compute_infer_ns + more.compute_infer_ns,
                compute_output_ns=have.compute_output_ns + more.compute_output_ns,
            )
    return dict(sorted(found.items()))
