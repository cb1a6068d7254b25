"""The text of ``/metrics``: OpenMetrics 1.0, and Prometheus text 0.0.4 for those who ask for it.

https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from gateway.observer.cells import Counter, Exemplar, Histogram, Labels

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """Values of now, made for one scrape. ``kind`` "unknown" is for foreign names that break the rules."""

    name: str
    help: str
    labels: Labels = ()
    cells: Mapping[Labels, float]
    kind: Literal["gauge", "info", "unknown"] = "gauge"


Family = Counter | Histogram | Gauge


def render(families: Iterable[Family], *, openmetrics: bool = True) -> bytes:
    """``families`` as text. A family without cells is left out.

    Raises: ValueError when a name repeats: no scraper would take the page.
    """
    out: list[str] = []
    names: set[str] = set()
    for family in families:
        if not family.cells:
            continue
        if family.name in names:
            raise ValueError(f"metric family {family.name} stands twice")
        names.add(family.name)
        if isinstance(family, Counter):
            _counter(out, family, openmetrics)
        elif isinstance(family, Histogram):
            _histogram(out, family, openmetrics)
        else:
            _gauge(out, family, openmetrics)
    if openmetrics:
        out.append("# EOF")
    return ("\n".join(out) + "\n").encode()


def wants_openmetrics(accept: str) -> bool:
    """OpenMetrics, unless the caller accepts plain text, or is a browser (which would save the page as a file), and did
    not name OpenMetrics."""
    return "application/openmetrics-text" in accept or not ("text/plain" in accept or "text/html" in accept)


def escape(value: str) -> str:
    """``value`` as it stands between quotes: backslash, quote and newline escaped; lone surrogates replaced."""
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return text.encode("utf-8", "replace").decode()


def _head(out: list[str], name: str, kind: str, text: str) -> None:
    out.append(f"# HELP {name} {escape(text)}")
    out.append(f"# TYPE {name} {kind}")


def _counter(out: list[str], family: Counter, openmetrics: bool) -> None:
    _head(out, family.name if openmetrics else f"{family.name}_total", "counter", family.help)
    for key, value in family.cells.items():
        out.append(f"{family.name}_total{_labels(family.labels, key)} {_scaled(value, family.scale)}")


def _gauge(out: list[str], family: Gauge, openmetrics: bool) -> None:
    kind = family.kind if openmetrics else {"info": "gauge", "unknown": "untyped"}.get(family.kind, "gauge")
    suffix = "_info" if family.kind == "info" else ""
    _head(out, family.name if openmetrics else family.name + suffix, kind, family.help)
    for key, value in family.cells.items():
        out.append(f"{family.name}{suffix}{_labels(family.labels, key)} {_number(value)}")


def _histogram(out: list[str], family: Histogram, openmetrics: bool) -> None:
    _head(out, family.name, "histogram", family.help)
    edges = [_float(bound / family.scale) for bound in family.bounds] + ["+Inf"]
    for key, cell in family.cells.items():
        total = 0
        for index, edge in enumerate(edges):
            total += cell[index]
            line = f"{family.name}_bucket{_labels((*family.labels, 'le'), (*key, edge))} {total}"
            exemplar = family.exemplars.get((key, index)) if openmetrics else None
            out.append(line + (_exemplar(exemplar, family.scale) if exemplar else ""))
        labels = _labels(family.labels, key)
        out.append(f"{family.name}_sum{labels} {_scaled(cell[-1], family.scale)}")
        out.append(f"{family.name}_count{labels} {total}")


def _exemplar(exemplar: Exemplar, scale: int) -> str:
    when = f"{exemplar.t_us // 1_000_000}.{exemplar.t_us % 1_000_000:06d}"
    return f' # {{trace_id="{escape(exemplar.trace_id)}"}} {_float(exemplar.value / scale)} {when}'


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{n}="{escape(v)}"' for n, v in zip(names, values, strict=True)) + "}"


def _scaled(value: int, scale: int) -> str:
    return str(value) if scale == 1 else _float(value / scale)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else _float(value)


def _float(value: float) -> str:
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text := repr(float(value)), text)
