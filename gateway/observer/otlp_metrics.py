"""The families of ``/metrics`` as OTLP metrics, for those who push: the same cells, so the same numbers.

Names are OpenTelemetry's: a collector that writes to Prometheus makes ours of them again. With ``traces.py`` the only
module that knows ``opentelemetry.sdk``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from gateway.observer import cells
from gateway.observer.conventions import SCHEMA_URL, SCOPE
from gateway.observer.openmetrics import Family
from gateway.observer.otlp import Choice

CUMULATIVE = AggregationTemporality.CUMULATIVE


def metrics_sender(choice: Choice, resource: Resource) -> Callable[[Sequence[Family], int, int], bool]:
    """A function that sends ``families`` as of ``now_us``, counted since ``since_us``, and tells whether the collector
    took them. It blocks, up to the exporter's timeout."""
    exporter = _exporter(choice)
    scope = InstrumentationScope(SCOPE, schema_url=SCHEMA_URL)

    def send(families: Sequence[Family], since_us: int, now_us: int) -> bool:
        metrics = [metric_of(family, since_us * 1000, now_us * 1000) for family in families if family.cells]
        scoped = ScopeMetrics(scope, metrics, SCHEMA_URL)
        data = MetricsData([ResourceMetrics(resource, [scoped], SCHEMA_URL)])
        return exporter.export(data) is MetricExportResult.SUCCESS

    return send


def _exporter(choice: Choice) -> MetricExporter:
    if choice == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

    return HttpExporter()


def metric_of(family: Family, since_ns: int, now_ns: int) -> Metric:
    """One family as one metric. Seconds are told by the unit, not by the name."""
    unit = next((unit for suffix, unit in (("_seconds", "s"), ("_bytes", "By")) if family.name.endswith(suffix)), "1")
    if isinstance(family, cells.Histogram):
        points = [_bucketed(family, key, cell, since_ns, now_ns) for key, cell in family.cells.items()]
        return Metric(family.name.removesuffix("_seconds"), family.help, unit, Histogram(points, CUMULATIVE))
    if isinstance(family, cells.Counter):
        scale = family.scale
        sums = {key: value if scale == 1 else value / scale for key, value in family.cells.items()}
        numbers = _numbers(family.labels, sums, since_ns, now_ns)
        return Metric(family.name, family.help, unit, Sum(numbers, CUMULATIVE, is_monotonic=True))
    gauge = Gauge(_numbers(family.labels, family.cells, since_ns, now_ns))
    return Metric(family.name, family.help, unit, gauge)


def _numbers(
    names: cells.Labels, values: Mapping[cells.Labels, float], since_ns: int, now_ns: int
) -> list[NumberDataPoint]:
    return [
        NumberDataPoint(dict(zip(names, key, strict=True)), since_ns, now_ns, value) for key, value in values.items()
    ]


def _bucketed(
    family: cells.Histogram, key: cells.Labels, cell: Sequence[int], since_ns: int, now_ns: int
) -> HistogramDataPoint:
    counts = list(cell[:-1])
    return HistogramDataPoint(
        attributes=dict(zip(family.labels, key, strict=True)),
        start_time_unix_nano=since_ns,
        time_unix_nano=now_ns,
        count=sum(counts),
        sum=cell[-1] / family.scale,
        bucket_counts=counts,
        explicit_bounds=[bound / family.scale for bound in family.bounds],
        min=float("nan"),
        max=float("nan"),
    )
