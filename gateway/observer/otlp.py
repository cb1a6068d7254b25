"""Where telemetry goes, by OpenTelemetry's standard environment variables. Nothing is configured: nothing is sent.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

Choice: TypeAlias = Literal["", "console", "grpc", "http/protobuf"]
Signal: TypeAlias = Literal["TRACES", "METRICS"]


def choose(environ: Mapping[str, str], signal: Signal) -> Choice:
    """How ``signal`` is exported, "" for not at all.

    OTLP needs an endpoint, or ``OTEL_<SIGNAL>_EXPORTER=otlp`` said outright; the signal's own variable wins over
    the general one.

    Raises: ValueError that names the variable, for an exporter or a protocol we do not have.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    exporter = environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if exporter == "none":
        return ""
    if exporter == "console" and signal == "TRACES":
        return "console"
    if exporter not in ("", "otlp"):
        raise ValueError(f"OTEL_{signal}_EXPORTER={exporter!r} is not available: use otlp or none")
    endpoint = _either(environ, signal, "ENDPOINT")
    if not endpoint and not exporter:
        return ""
    protocol = _either(environ, signal, "PROTOCOL") or "http/protobuf"
    if protocol == "grpc":
        return "grpc"
    if protocol == "http/protobuf":
        return "http/protobuf"
    raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} is not available: use grpc or http/protobuf")


def _either(environ: Mapping[str, str], signal: Signal, name: str) -> str:
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}", "").strip()
    return own or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()
