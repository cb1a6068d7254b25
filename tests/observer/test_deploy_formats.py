"""What is in ``deploy/``, read by those it is written for or by their schemas; OPA started as compose starts it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CUSTOM = {"Kustomization", "ClusterServingRuntime", "ServiceMonitor"}
"""Kinds whose schemas no package has: those of kustomize (which reads its own file below), KServe and the operator."""


def succeeds(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_compose_file_fits_the_specification() -> None:
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    succeeds(program, "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose" / "compose.yaml"))


def check(text: str) -> list[str]:
    """The kinds of the objects in ``text``, each of which fits Kubernetes' schema to the letter."""
    kinds = []
    for thing in yaml.safe_load_all(text):
        if thing["kind"] not in CUSTOM:
            kubernetes_validate.validate(thing, "1.34", strict=True)
            kinds.append(thing["kind"])
    return kinds


@pytest.mark.parametrize("path", sorted((DEPLOY / "kubernetes").glob("*.yaml")), ids=lambda path: path.name)
def test_kubernetes_objects_fit_their_schema(path: Path) -> None:
    check(path.read_text())


def test_the_schemas_do_find_what_does_not_fit() -> None:
    text = (DEPLOY / "kubernetes" / "statefulset.yaml").read_text()
    with pytest.raises(kubernetes_validate.ValidationError, match="replicaz"):
        check(text.replace("replicas:", "replicaz:"))


def test_kustomize_makes_whole_objects_of_them(tool) -> None:
    kustomize = tool("kustomize", "make tools builds it")
    made = succeeds(kustomize, "build", str(DEPLOY / "kubernetes"))
    assert sorted(check(made)) == sorted(
        ["Namespace", "ConfigMap", "Service", "Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"]
    )
    config = next(thing for thing in yaml.safe_load_all(made) if thing["kind"] == "ConfigMap")
    pod = next(thing for thing in yaml.safe_load_all(made) if thing["kind"] == "StatefulSet")["spec"]["template"]
    names = {volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume}
    assert config["metadata"]["name"] in names


def test_opa_starts_as_compose_starts_it_and_decides(tool, tmp_path: Path) -> None:
    opa = tool("opa", "make tools builds it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]["opa"]["command"]
    places = {"--addr=0.0.0.0:8181": f"--addr=127.0.0.1:{port}", "/policies": str(ROOT / "policies")}
    assert places.keys() <= set(words)
    with (tmp_path / "opa.log").open("wb") as log:
        process = subprocess.Popen([opa, *(places.get(word, word) for word in words)], stdout=log, stderr=log)
    try:
        decision = ask(f"http://127.0.0.1:{port}/v1/data/gateway/authz/decision")
    finally:
        process.kill()
        process.wait()
    assert decision["allow"] is False
    assert decision["reasons"]


def ask(url: str, seconds: float = 30.0) -> dict[str, object]:
    """What OPA decides about nothing, once it answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, data=b'{"input": {}}', timeout=5) as answer:
                return dict(json.load(answer)["result"])
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")
