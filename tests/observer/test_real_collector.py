"""The whole way: the observer, a real OpenTelemetry Collector, a real Jaeger; and an outage in the middle of it.

``deploy/install-otel.sh`` builds both; ``make chaos`` runs this.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from observer.otel_servers import Collector, Jaeger, program, wait_for
from running import ROOT, start
from tritonclient.utils import InferenceServerException

from gateway.observer.observer import Observer
from gateway.observer.settings import Settings

pytestmark = pytest.mark.chaos


@pytest.fixture
def jaeger(tmp_path: Path) -> Iterator[Jaeger]:
    with ExitStack() as stack:
        program("otelcol")
        server = Jaeger(tmp_path)
        stack.callback(server.close)
        wait_for(server.otlp)
        yield server


@pytest.fixture
def collector(jaeger: Jaeger, tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path, jaeger.otlp)
    yield made
    made.kill()


async def found(jaeger: Jaeger, trace_id: str, seconds: float = 30.0) -> dict[str, Any]:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        trace = await asyncio.to_thread(jaeger.trace, trace_id)
        if trace is not None and len(trace["spans"]) >= 4:
            return trace
        await asyncio.sleep(0.2)
    raise AssertionError(f"trace {trace_id} never reached Jaeger")


def test_the_collector_accepts_the_configuration_that_we_ship() -> None:
    config = Path(__file__).parents[2] / "deploy" / "collector" / "collector.yaml"
    done = subprocess.run([program("otelcol"), "validate", "--config", str(config)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_traces_reach_jaeger_before_and_after_a_collectors_outage(
    protocol: str, shards, record, denied, collector, jaeger, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = collector.grpc if protocol == "grpc" else collector.http
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    now_us = time.time_ns() // 1000
    trace_ids = [f"{os.urandom(16).hex()}" for _ in range(3)]
    collector.start()
    observer = Observer(
        shards.root.parent,
        Settings(port=0),
        clock_us=lambda: time.time_ns() // 1000,
        clock_ns=time.monotonic_ns,
        environ=environ,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(observer.run(stop))
    try:
        shards.add(record(0, trace=trace_ids[0], t_us=now_us))
        trace = await found(jaeger, trace_ids[0])
        names = {span["operationName"] for span in trace["spans"]}
        assert names == {record().method, "authenticate", "decide", "queue", "infer", "record"}
        assert trace["processes"]["p1"]["serviceName"] == "inference-gateway"

        collector.kill()
        shards.add(record(1, trace=trace_ids[1], t_us=now_us))
        await asyncio.sleep(3)
        assert await asyncio.to_thread(jaeger.trace, trace_ids[1]) is None
        shards.add(record(2, **denied, trace=trace_ids[2], t_us=now_us))
        await asyncio.to_thread(collector.start)
        await found(jaeger, trace_ids[1])
        denial = await found(jaeger, trace_ids[2])
        server = next(span for span in denial["spans"] if span["operationName"] == record().method)
        tags = {tag["key"]: tag["value"] for tag in server["tags"]}
        assert tags["gateway.policy.decision"] == "deny"
        assert tags["gateway.sampled_by"] == "deny"
        assert "error" not in tags
    finally:
        stop.set()
        await running


def tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def eventually(jaeger: Jaeger, operation: str, count: int = 1) -> list[dict[str, Any]]:
    """``count`` spans of this name, once Jaeger has so many."""
    give_up = time.monotonic() + 60
    while len(found := jaeger.spans(operation)) < count:
        assert time.monotonic() < give_up, f"{len(found)} spans {operation} of {count}"
        time.sleep(0.3)
    return found


def test_what_changes_in_a_whole_gateway_is_a_span_and_a_denial_names_its_rule(collector, jaeger, tmp_path) -> None:
    collector.start()
    for name in ("policies", "examples/models"):
        shutil.copytree(ROOT / name, tmp_path / name)
    gateway = start(
        tmp_path / "data",
        models=tmp_path / "examples" / "models",
        policies=tmp_path / "policies",
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.http}"},
    )
    try:
        key = gateway.key("stranger", "nobody")
        assert tags(eventually(jaeger, "gateway.keys_created")[0])["gateway.event.id"] == "stranger"
        models = eventually(jaeger, "gateway.model_loaded", 4)
        assert {tags(span)["gateway.event.model"] for span in models} >= {"diabetes:1", "digits:1"}
        (policy,) = eventually(jaeger, "gateway.policy_loaded")
        rules = next(path for path in (tmp_path / "policies").rglob("*.rego") if not path.stem.endswith("_test"))
        rules.write_text(f"{rules.read_text()}\n# another text is another revision\n")
        revisions = {tags(span)["gateway.event.revision"] for span in eventually(jaeger, "gateway.policy_loaded", 2)}
        assert len(revisions) == 2
        assert tags(policy)["gateway.event.revision"] in revisions
        rules.write_text("package gateway.authz\nthis is no Rego")
        refused = tags(eventually(jaeger, "gateway.policy_refused")[0])
        assert refused["error"] is True
        assert "rego" in refused["gateway.event.reason"]

        shutil.copytree(tmp_path / "examples/models/diabetes/1", tmp_path / "examples/models/diabetes/2")
        assert "diabetes:2" in {
            tags(span)["gateway.event.model"] for span in eventually(jaeger, "gateway.model_loaded", 5)
        }

        with triton.InferenceServerClient(gateway.url) as client:
            rows = triton.InferInput("measurements", [1, 10], "FP32")
            rows.set_data_from_numpy(np.zeros((1, 10), np.float32))
            with pytest.raises(InferenceServerException, match="denied"):
                client.infer("diabetes", [rows], headers={"x-api-key": key})
        denied = eventually(jaeger, "inference.GRPCInferenceService/ModelInfer")[0]
        decide = tags(eventually(jaeger, "decide")[0])
        assert decide["security_rule.name"] == tags(denied)["gateway.policy.rule"]
        assert decide["security_rule.version"] in revisions
    finally:
        gateway.stop()
