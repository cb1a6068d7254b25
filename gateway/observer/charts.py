"""Two plots as inline SVG: stacked bars over time, and bars side by side. Text is escaped; nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#975a16", "#285e61", "#718096")
WIDTH, HEIGHT, LEFT, BOTTOM = 860, 260, 70, 30
WIDEST = 60
"""A bar of a chart with few."""


def stacked(title: str, ticks: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Bars over ``ticks``, one stack each, a colour for each of ``series`` (in its order, at most eight)."""
    totals = [sum(values[place] for values in series.values()) for place in range(len(ticks))]
    top = _round_up(max(totals, default=0))
    step = (WIDTH - LEFT) / max(1, len(ticks))
    width = min(step * 0.8, WIDEST)
    bars = []
    for place, tick in enumerate(ticks):
        y = float(HEIGHT - BOTTOM)
        for colour, (name, values) in zip(COLOURS, series.items(), strict=False):
            height = values[place] / top * (HEIGHT - BOTTOM - 10)
            y -= height
            if height > 0:
                hint = escape(f"{tick}, {name}: {values[place]:,.10g}")
                bars.append(
                    f'<rect x="{LEFT + (place + 0.5) * step - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{height:.1f}" fill="{colour}"><title>{hint}</title></rect>'
                )
    return _frame(title, HEIGHT, _grid(top) + _ticks(ticks, step) + "".join(bars)) + _legend(series)


def number(value: float) -> str:
    """``value`` with thousands marked, and three decimals where it is no whole number."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.3f}" if value >= 0.001 else "< 0.001"


def bars(title: str, values: Mapping[str, float]) -> str:
    """One horizontal bar for each of ``values``, in its order."""
    top = max([*values.values(), 1e-9])
    rows = []
    for place, (name, value) in enumerate(values.items()):
        y = 8 + place * 28
        width = value / top * (WIDTH - 340)
        rows.append(
            f'<text x="210" y="{y + 14}" text-anchor="end">{escape(_cut(name))}</text>'
            f'<rect x="220" y="{y}" width="{max(1.0, width):.1f}" height="20" fill="{COLOURS[0]}"/>'
            f'<text x="{226 + width:.1f}" y="{y + 14}">{escape(number(value))}</text>'
        )
    return _frame(title, 16 + 28 * len(values), "".join(rows))


def _frame(title: str, height: int, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{content}</svg>'
    )


def _grid(top: float) -> str:
    lines = []
    for part in range(5):
        y = HEIGHT - BOTTOM - part / 4 * (HEIGHT - BOTTOM - 10)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{top * part / 4:,.10g}</text>'
        )
    return "".join(lines)


def _ticks(ticks: Sequence[str], step: float) -> str:
    every = max(1, -(-len(ticks) // 8))
    y = HEIGHT - BOTTOM + 18
    return "".join(
        f'<text x="{LEFT + (place + 0.5) * step:.1f}" y="{y}" text-anchor="middle">{escape(tick)}</text>'
        for place, tick in enumerate(ticks)
        if place % every == 0
    )


def _legend(series: Mapping[str, Sequence[float]]) -> str:
    patch = '<svg viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" fill="{}"/></svg>'
    items = "".join(
        f"<li>{patch.format(colour)}{escape(name)}</li>" for colour, name in zip(COLOURS, series, strict=False)
    )
    return f'<ul class="legend">{items}</ul>'


def _round_up(value: float) -> float:
    """The next number of the form 1, 2, 4, 8 times a power of ten: quarters of it are easy to read."""
    scale = 1.0
    while scale * 10 <= value:
        scale *= 10
    return (
        next((factor * scale for factor in (1, 2, 4, 8) if factor * scale >= value), 10 * scale) if value > 0 else 4.0
    )


def _cut(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
