"""Triton's metric names, so that existing boards light up. Opt-in: counted from when they are asked for
(delete ``<data>/observer/metrics.db`` to count from the first record).

Names, labels and the missing ``_total`` are Triton's:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.ledger.record import Record
from gateway.observer.cells import Counter, Labels
from gateway.observer.openmetrics import Gauge
from gateway.observer.usage import is_prediction

_MODEL = ("model", "version")
_DURATIONS = ("request", "queue", "compute_input", "compute_infer", "compute_output")


class TritonAliases:
    """Counters of inference calls under Triton's names. Durations are cumulative microseconds."""

    def __init__(self) -> None:
        self.success = Counter("nv_inference_request_success", "Successful inference requests.", _MODEL)
        self.failure = Counter("nv_inference_request_failure", "Failed inference requests.", (*_MODEL, "reason"))
        self.count = Counter("nv_inference_count", "Rows inferred.", _MODEL)
        self.runs = Counter("nv_inference_exec_count", "Runs of the model, a batch being one.", _MODEL)
        self._durations = {
            name: Counter(f"nv_inference_{name}_duration_us", f"Cumulative {name} time.", _MODEL) for name in _DURATIONS
        }

    def apply(self, record: Record, model: Labels) -> None:
        """Fold one call; those that are no inference leave nothing."""
        if not is_prediction(record) or not model[0]:
            return
        if record.outcome != "answered":
            self.failure.add((*model, reason_of(record)))
            return
        self.success.add(model)
        self.count.add(model, record.rows)
        if record.batch_i == 0:  # each batch has exactly one call that begins it
            self.runs.add(model)
        ph = record.ph
        decided, queued, inferred = ph.get("decide", 0), ph.get("queue", 0), ph.get("infer", 0)
        spent = self._durations
        spent["request"].add(model, record.dur_us)
        spent["queue"].add(model, max(0, queued - decided))
        spent["compute_input"].add(model, 0)  # inputs are views: nothing is copied
        spent["compute_infer"].add(model, max(0, inferred - queued))
        spent["compute_output"].add(model, max(0, ph.get("record", inferred) - inferred))

    def pending(self, waiting: Mapping[Labels, int]) -> Iterator[Gauge]:
        """The calls that wait, by model and version."""
        text = "Requests that wait for a run."
        yield Gauge(name="nv_inference_pending_request_count", help=text, labels=_MODEL, cells=waiting)

    def counters(self) -> Iterator[Counter]:
        """The cells, for snapshots."""
        yield from (self.success, self.failure, self.count, self.runs)
        yield from self._durations.values()

    def families(self) -> Iterator[Gauge]:
        """As they are exposed: of unknown type, for OpenMetrics allows no counter without ``_total``."""
        for counter in self.counters():
            yield Gauge(
                name=counter.name, help=counter.help, labels=counter.labels, cells=dict(counter.cells), kind="unknown"
            )


def reason_of(record: Record) -> str:
    """Triton's four reasons: REJECTED for load, CANCELED, BACKEND for the model, OTHER for the rest, denials too."""
    if record.status == "RESOURCE_EXHAUSTED":
        return "REJECTED"
    if record.outcome == "cancelled":
        return "CANCELED"
    return "BACKEND" if record.error == "model_failed" else "OTHER"
