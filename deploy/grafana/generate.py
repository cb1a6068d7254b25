"""Writes ``dashboards/*.json`` from ``boards.toml``: ``python deploy/grafana/generate.py``. Both are committed, and
a test compares them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${source}"}


def boards() -> dict[str, str]:
    """File name and content of each dashboard."""
    tree = tomllib.loads((HERE / "boards.toml").read_text())
    return {board["file"]: json.dumps(_board(board), indent=2) + "\n" for board in tree["board"]}


def _board(board: dict[str, Any]) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row in board["row"]:
        panels.append(
            {"type": "row", "title": row["title"], "collapsed": False, "panels": [], "gridPos": _at(0, y, 24, 1)}
        )
        width = 24 // len(row["panels"])
        height = 4 if all(panel.get("type") == "stat" for panel in row["panels"]) else 8
        panels += [
            _panel(panel) | {"gridPos": _at(place * width, y + 1, width, height)}
            for place, panel in enumerate(row["panels"])
        ]
        y += height + 1
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    return {
        "uid": board["uid"],
        "title": board["title"],
        "tags": ["inference-gateway"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                _variable("model"),
                _variable("tenant"),
            ]
        },
        "panels": panels,
    }


def _at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(panel: dict[str, Any]) -> dict[str, Any]:
    kind = panel.get("type", "timeseries")
    defaults: dict[str, Any] = {"unit": panel.get("unit", "short")}
    if kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never"}
    return {
        "title": panel["title"],
        "description": panel.get("help", ""),
        "type": kind,
        "datasource": SOURCE,
        "targets": [_target(place, query, kind) for place, query in enumerate(_queries(panel))],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
    }


def _queries(panel: dict[str, Any]) -> list[list[str]]:
    if "histogram" not in panel:
        return list(panel["queries"])
    rate = f"sum by (le) (rate({panel['histogram']}_bucket{panel.get('selector', '')}[$__rate_interval]))"
    return [[f"histogram_quantile({q}, {rate})", f"p{round(q * 100)}"] for q in (0.5, 0.95, 0.99)]


def _target(place: int, query: list[str], kind: str) -> dict[str, Any]:
    target = {"datasource": SOURCE, "refId": chr(ord("A") + place), "expr": query[0], "legendFormat": query[1]}
    if kind == "table":
        return target | {"instant": True, "format": "table"}
    return target | {"exemplar": "_bucket" in query[0]}


def _variable(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values(gateway_requests_total, {name})",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    (HERE / "dashboards").mkdir(exist_ok=True)
    for file, content in boards().items():
        (HERE / "dashboards" / file).write_text(content)
