"""docs/observability.md names every metric family, every setting, and the commands it shows exist."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config.tree import Telemetry
from gateway.observer.cells import Counter
from gateway.observer.gauges import chain_gauge, delivery_counters, observer_gauges, worker_gauges
from gateway.observer.metrics import Metrics
from gateway.observer.openmetrics import Gauge
from gateway.observer.sampling import RULES, Policy, Sampler
from gateway.observer.state import WorkerState
from gateway.observer.telemetry import SpanMaker

TEXT = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()


def suffix(family: object) -> str:
    if isinstance(family, Gauge):
        return "_info" if family.kind == "info" else ""
    return "_total" if isinstance(family, Counter) else ""


def test_every_family_is_documented_under_the_name_that_a_query_uses() -> None:
    state = WorkerState(worker=0, pid=1, started_us=1, time_us=1, ready=True)
    families = [
        *Metrics().families(),
        *worker_gauges([state], 1),
        *observer_gauges(sizes={}, lags_us={}, version={}, start_us=1),
        *chain_gauge({}, dict),
        *delivery_counters([]),
        *SpanMaker(Sampler(Policy()), print).families(),
    ]
    names = {family.name + suffix(family) for family in families}
    documented = set(re.findall(r"`((?:gateway|rpc)_\w+)`", TEXT))
    assert names - documented == set()
    assert {name for name in documented if name not in names and "deny" not in name} == set()


def test_every_setting_and_rule_is_documented() -> None:
    assert {name for name in Telemetry.model_fields if f"telemetry.{name}" not in TEXT} == set()
    assert {rule for rule in RULES if f"`{rule}`" not in TEXT} == set()


def test_every_file_named_exists() -> None:
    root = Path(__file__).parents[2]
    named = [name for name in re.findall(r"`((?:deploy|bench)/[\w./*-]+)`", TEXT) if "*" not in name]
    assert len(named) > 5
    assert [name for name in named if not (root / name).exists()] == []
    tests = {
        name if "/" in name else f"tests/observer/{name}"
        for name in re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py)`", TEXT)
    }
    assert len(tests) > 20
    assert [name for name in tests if not (root / name).exists()] == []
