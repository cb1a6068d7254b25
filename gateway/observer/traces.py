"""OTLP: our spans as the OpenTelemetry SDK's, sent by its exporters, chosen by the standard environment variables.

With ``otlp_metrics.py`` the only module that knows ``opentelemetry.sdk``. No live span exists anywhere: a span is
built from a record, finished, and handed to an exporter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.observer.conventions import SCHEMA_URL, SCOPE
from gateway.observer.otlp import Choice
from gateway.observer.spans import Span


def resource_of(version: str, instance: str) -> Resource:
    """What sends: ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` win over our own words."""
    ours = {"service.name": "inference-gateway", "service.version": version, "service.instance.id": instance}
    detected = Resource.create()
    named = {
        k: v for k, v in detected.attributes.items() if not (k == "service.name" and str(v).startswith("unknown_"))
    }
    return Resource({**detected.attributes, **ours, **named}, SCHEMA_URL)


class SpanSender:
    """Sends spans and tells whether the collector took them. A call blocks, up to the exporter's timeout
    (``OTEL_EXPORTER_OTLP_TIMEOUT``, 10 s unless set); ``interrupt``, from another thread, ends its waiting for good."""

    def __init__(self, choice: Choice, resource: Resource) -> None:
        self._exporter = _exporter(choice)
        self._resource = resource
        self._scope = InstrumentationScope(SCOPE, schema_url=SCHEMA_URL)

    def __call__(self, spans: Sequence[Span]) -> bool:
        """Whether the collector took ``spans``."""
        built = [_readable(span, self._resource, self._scope) for span in spans]
        return self._exporter.export(built) is SpanExportResult.SUCCESS

    def interrupt(self) -> None:
        """Send nothing more, and stop waiting to try again."""
        self._exporter.shutdown()


def _exporter(choice: Choice) -> SpanExporter:
    if choice == "console":
        return ConsoleSpanExporter()
    if choice == "grpc":  # imported here: grpc's core starts only where it is asked for
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter()


def _readable(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    trace_id = int(span.trace_id, 16)
    sampled = TraceFlags(TraceFlags.SAMPLED)
    attributes: Mapping[str, str | int | float | bool | tuple[str, ...]] = span.attributes
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=sampled),
        parent=SpanContext(trace_id, int(span.parent_id, 16), is_remote=span.server, trace_flags=sampled)
        if span.parent_id
        else None,
        resource=resource,
        attributes=attributes,
        kind=SpanKind.SERVER if span.server else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=scope,
    )
