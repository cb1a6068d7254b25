"""The usage report: one HTML file with plots, a table behind each, and the line that says whether it is exact.

Self-contained: no script, no font, nothing fetched; it can be mailed, printed and archived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from gateway.observer.charts import COLOURS, bars, number, stacked
from gateway.observer.closing import DAY_US
from gateway.observer.reconcile import Reconciliation
from gateway.observer.usage import HOUR_US, Key, Sums
from gateway.observer.usage_formats import DEFAULT_GROUP, Row, iso, rows_by

MAX_HOURS = 72
NOBODY, OTHERS = "(none)", "(others)"

_STYLE = """
:root{color-scheme:light dark;--line:#cbd5e0}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
svg{width:100%;height:auto;font-size:12px}svg text{fill:currentColor}.grid{stroke:var(--line)}
table{border-collapse:collapse;width:100%}
th,td{border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:right}
th.name,td.name{text-align:left}.wide{overflow-x:auto}th,td{white-space:nowrap}
td.name{white-space:normal;min-width:5rem;max-width:13rem;overflow-wrap:break-word}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:1rem}
.legend svg{width:.8em;margin-right:.4em}.exact,.inexact{padding:.6rem 1rem;border-left:.4rem solid #2f855a}
.inexact{border-color:#c53030;font-weight:bold}.figures{display:flex;gap:2rem;flex-wrap:wrap}
.figures b{display:block;font-size:1.6rem}
"""

_NUMBERS = ("requests", "answered", "denied", "failed", "rows", "in_bytes", "out_bytes", "compute_seconds")


def html_report(usage: Mapping[Key, Sums], check: Reconciliation, *, source: str, window: str, made: str) -> str:
    """The whole document. ``window`` and ``made`` are written as they are given."""
    total = Sums()
    for row in usage.values():
        total.add(row)
    largest = _largest(usage)
    verdict = "exact" if check.exact else "inexact"
    parts = [
        f"<h1>Usage of {escape(source)}</h1><p>{escape(window)}. Made {escape(made)} from the ledger.</p>",
        f'<p class="{verdict}" role="status">{"✓" if check.exact else "✗"} {escape(str(check))}</p>',
        _figures(total),
        _over_time(usage, "Requests by tenant", lambda sums: sums.requests, largest),
        _over_time(usage, "Denials by tenant", lambda sums: sums.denied, largest),
        _section("Rows by model", *_by(usage, ("model", "version"), "rows")),
        _section("Compute seconds by model", *_by(usage, ("model", "version"), "compute_seconds")),
        _section("Requests by principal", *_by(usage, ("tenant", "principal"), "requests")),
        f"<h2>All rows</h2>{_table(DEFAULT_GROUP, rows_by(usage, DEFAULT_GROUP))}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Usage of {escape(source)}</title><style>{_STYLE}</style></head><body><main>"
        f"{''.join(parts)}</main></body></html>\n"
    )


def _figures(total: Sums) -> str:
    shown = {
        "requests": f"{total.requests:,}",
        "answered": f"{total.answered:,}",
        "denied": f"{total.denied:,}",
        "failed": f"{total.failed:,}",
        "rows": f"{total.rows:,}",
        "compute": f"{total.compute_us / 1e6:,.1f} s",
    }
    return '<div class="figures">' + "".join(f"<p><b>{v}</b>{k}</p>" for k, v in shown.items()) + "</div>"


def _over_time(usage: Mapping[Key, Sums], title: str, count: Callable[[Sums], int], largest: Sequence[str]) -> str:
    """Stacked bars over time: of each of the ``largest`` tenants, in their order, and of all others as one."""
    hours = [key.hour_us for key in usage]
    if not hours:
        return f"<h2>{title}</h2><p>No usage in this window.</p>"
    width = _width(max(hours) - min(hours))
    first, last = min(hours) // width, max(hours) // width
    shown = slice(5, 16) if width == HOUR_US else slice(0, 10)
    ticks = [iso(place * width)[shown].replace("T", " ") for place in range(first, last + 1)]
    series = {tenant or NOBODY: [0.0] * len(ticks) for tenant in largest}
    for key, row in usage.items():
        name = key.tenant or NOBODY
        values = series[name] if key.tenant in largest else series.setdefault(OTHERS, [0.0] * len(ticks))
        values[key.hour_us // width - first] += count(row)
    header = ["time (UTC)", *series]
    lines = [[tick, *(f"{values[place]:,.0f}" for values in series.values())] for place, tick in enumerate(ticks)]
    return _section(title, stacked(title, ticks, series), _plain_table(header, lines))


def _width(span_us: int) -> int:
    """What one bar stands for: an hour up to three days, then as many days as make at most ninety bars. A clock that
    once was wrong by years makes few bars, not many."""
    if span_us < MAX_HOURS * HOUR_US:
        return HOUR_US
    return DAY_US * -(-span_us // (90 * DAY_US))


def _largest(usage: Mapping[Key, Sums]) -> list[str]:
    """The tenants with most requests, so many that there is a colour for each and one for all others."""
    requests: Counter[str] = Counter()
    for key, row in usage.items():
        requests[key.tenant] += row.requests
    ordered = sorted(requests, key=lambda tenant: (-requests[tenant], tenant))
    return ordered[: len(COLOURS) - 1]


def _by(usage: Mapping[Key, Sums], names: Sequence[str], what: str) -> tuple[str, str]:
    """Bars of the fifteen largest that are not zero, and a table of all."""
    rows = sorted(rows_by(usage, names), key=lambda row: -float(row[what]))
    shown = {_label(row, names): float(row[what]) for row in rows[:15] if row[what]}
    return bars(f"{what.replace('_', ' ')} by {', '.join(names)}", shown), _table(names, rows)


def _label(row: Row, names: Sequence[str]) -> str:
    """``credit:3`` for a model, ``acme/app`` for a principal."""
    first, second = (str(row[name]) for name in names)
    if names[0] == "model":
        return f"{first}:{second}" if first else "(no model)"
    return second if second.startswith(f"{first}/") else f"{first or NOBODY}/{second or NOBODY}"


def _section(title: str, chart: str, table: str) -> str:
    return f"<section><h2>{title}</h2>{chart}<details><summary>as a table</summary>{table}</details></section>"


def _table(names: Sequence[str], rows: Iterable[Row]) -> str:
    lines = [
        [*(str(row[name]) or "-" for name in names), *(number(float(row[each])) for each in _NUMBERS)] for row in rows
    ]
    return _plain_table([*names, *(each.replace("_", " ") for each in _NUMBERS)], lines, text=len(names))


def _plain_table(header: Sequence[str], lines: Iterable[Sequence[str]], text: int = 1) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        kinds = [' class="name"' if place < text else "" for place in range(len(values))]
        return "".join(f"<{tag}{kind}>{escape(value)}</{tag}>" for kind, value in zip(kinds, values, strict=True))

    body = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
    head = f"<thead><tr>{cells('th', header)}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'
