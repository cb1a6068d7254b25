"""What is in ``deploy/``: rules that Prometheus runs and tests, boards that ask for metrics we have, files that fit."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml

from gateway.config import load
from gateway.observer.gauges import chain_gauge, delivery_counters, observer_gauges, worker_gauges
from gateway.observer.metrics import Metrics
from gateway.observer.openmetrics import Gauge
from gateway.observer.state import WorkerState

DEPLOY = Path(__file__).parents[2] / "deploy"
HOW = "apt-get install prometheus (Debian) brings promtool"
STATE = WorkerState(worker=0, pid=1, started_us=1, time_us=1, ready=True)


def metric_names() -> set[str]:
    """Every series name that a scrape can have."""
    names: set[str] = set()
    families = [
        *Metrics().families(),
        *worker_gauges([STATE], 1),
        *observer_gauges(sizes={}, lags_us={}, version={}, start_us=1),
        *chain_gauge({}, dict),
        *delivery_counters([]),
    ]
    for family in families:
        if isinstance(family, Gauge):
            names.add(family.name + ("_info" if family.kind == "info" else ""))
        elif hasattr(family, "bounds"):
            names |= {family.name + suffix for suffix in ("_bucket", "_sum", "_count")}
        else:
            names.add(family.name + "_total")
    return names


def rules() -> list[dict[str, str]]:
    groups = [
        group
        for file in ("recording.yml", "alerts.yml")
        for group in yaml.safe_load((DEPLOY / "prometheus" / file).read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, object]]:
    return {path.name: json.loads(path.read_text()) for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}


def expressions() -> list[str]:
    """All PromQL in boards and rules."""
    panels = [panel for board in dashboards().values() for panel in board["panels"]]  # type: ignore[attr-defined]
    targets = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return targets + [rule["expr"] for rule in rules()]


def test_boards_are_what_their_source_says() -> None:
    generate = runpy.run_path(str(DEPLOY / "grafana" / "generate.py"))
    committed = {p.name: p.read_text() for p in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
    assert committed == generate["boards"]()


def test_boards_and_rules_ask_only_for_what_exists() -> None:
    known = metric_names() | {rule["record"] for rule in rules() if "record" in rule} | {"up"}
    bare = [re.sub(r"\{[^}]*\}", "", expr) for expr in expressions()]
    asked = {name for expr in bare for name in re.findall(r"\b(?:gateway_\w+|gateway:[\w:]+|rpc_\w+|up)\b", expr)}
    assert asked - known == set()
    assert len(asked) > 30


def test_every_panel_has_a_place_of_its_own() -> None:
    for board in dashboards().values():
        cells = [
            (x, y)
            for panel in board["panels"]  # type: ignore[attr-defined]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24


def test_the_boards_expressions_parse(tool, tmp_path: Path) -> None:
    promtool = tool("promtool", HOW)
    plain = [re.sub(r"\$__rate_interval", "5m", expr) for expr in expressions()]
    group = {"name": "all", "rules": [{"record": f"x:{n}", "expr": expr} for n, expr in enumerate(plain)]}
    (tmp_path / "all.yml").write_text(yaml.safe_dump({"groups": [group]}))
    found = subprocess.run([promtool, "check", "rules", str(tmp_path / "all.yml")], capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "recording.yml", "alerts.yml"),
        ("test", "rules", "tests.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
)
def test_promtool_accepts(arguments: tuple[str, ...], tool) -> None:
    command = [tool("promtool", HOW), *arguments]
    found = subprocess.run(command, cwd=DEPLOY / "prometheus", capture_output=True, check=False)
    assert found.returncode == 0, (found.stdout + found.stderr).decode()


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket"), rule  # type: ignore[index]
            assert rule["annotations"].keys() == {"summary", "description"}, rule  # type: ignore[attr-defined]


def test_what_compose_mounts_exists_and_every_image_has_a_version() -> None:
    folder = DEPLOY / "compose"
    tree = yaml.safe_load((folder / "compose.yaml").read_text())
    assert set(tree["services"]) == {"gateway", "opa", "collector", "jaeger", "prometheus", "grafana"}
    for name, service in tree["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in tree["volumes"] or (folder / source).resolve().exists(), volume
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+", service["image"]), name


def test_the_collectors_pipelines_name_what_is_defined() -> None:
    tree = yaml.safe_load((DEPLOY / "collector" / "collector.yaml").read_text())
    for pipeline in tree["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(tree[kind])


def test_kubernetes_files_are_listed_and_wait_long_enough_for_the_drain() -> None:
    folder = DEPLOY / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert all((folder / name).exists() for name in kustomization["resources"])
    config = load(folder / "gateway.toml", {})
    pod = yaml.safe_load((folder / "statefulset.yaml").read_text())["spec"]["template"]["spec"]
    needed = config.server.drain_delay_s + config.server.grace_s + 15  # followers catch up
    assert pod["terminationGracePeriodSeconds"] > needed
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": config.server.port, "admin": config.admin.port}
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(config.data), *map(str, config.models.dirs), str(config.policy.dir)} <= mounted
    assert {mount["name"] for mount in container["volumeMounts"]} <= {v["name"] for v in pod["volumes"]} | {"data"}
