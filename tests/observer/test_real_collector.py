"""The whole way: the observer, a real OpenTelemetry Collector, a real Jaeger; and an outage in the middle of it.

``deploy/install-otel.sh`` builds both; ``make chaos`` runs this.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from gateway.observer.observer import Observer
from gateway.observer.settings import Settings

pytestmark = pytest.mark.chaos

TOOLS = Path(__file__).parents[2] / ".tools" / "bin"


def program(name: str) -> str:
    path = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not installed: deploy/install-otel.sh builds it")
    return path


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


class Collector:
    """A real collector that sends on to Jaeger; it can be killed and started again on the same ports."""

    def __init__(self, folder: Path, jaeger_port: int) -> None:
        self.grpc, self.http = free_ports(2)
        self._folder = folder
        (folder / "collector.yaml").write_text(
            json.dumps(
                {
                    "receivers": {
                        "otlp": {
                            "protocols": {
                                "grpc": {"endpoint": f"127.0.0.1:{self.grpc}"},
                                "http": {"endpoint": f"127.0.0.1:{self.http}"},
                            }
                        }
                    },
                    "exporters": {"otlp_grpc": {"endpoint": f"127.0.0.1:{jaeger_port}", "tls": {"insecure": True}}},
                    "service": {
                        "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_grpc"]}},
                        "telemetry": {"metrics": {"level": "none"}},
                    },
                }
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "collector.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("otelcol"), "--config", str(self._folder / "collector.yaml")], stdout=log, stderr=log
            )
        wait_for(self.http)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Jaeger:
    """A real Jaeger, in memory."""

    def __init__(self, folder: Path) -> None:
        self.otlp, self._query, *others = free_ports(7)
        listeners = (
            "collector.otlp.http",
            "collector.grpc-server",
            "collector.http-server",
            "query.grpc-server",
            "admin.http",
        )
        ports = [
            f"--collector.otlp.grpc.host-port=127.0.0.1:{self.otlp}",
            f"--query.http-server.host-port=127.0.0.1:{self._query}",
            *(f"--{name}.host-port=127.0.0.1:{port}" for name, port in zip(listeners, others, strict=True)),
        ]
        with (folder / "jaeger.log").open("wb") as log:
            self._process = subprocess.Popen([program("jaeger"), *ports], stdout=log, stderr=log)

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        try:
            with urlopen(f"http://127.0.0.1:{self._query}/api/traces/{trace_id}", timeout=5) as answer:
                return dict(json.load(answer)["data"][0])
        except HTTPError as error:
            error.close()
            return None

    def close(self) -> None:
        self._process.kill()  # asked politely, it takes longer than the test
        self._process.wait()


def wait_for(port: int, seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


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
