"""A real OpenTelemetry Collector and a real Jaeger on free ports; ``deploy/install-otel.sh`` builds both."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

TOOLS = Path(__file__).parents[2] / ".tools" / "bin"


def program(name: str) -> str:
    path = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        text = f"{name} is not installed: deploy/install-otel.sh builds it"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    return str(path)


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

    def spans(self, operation: str) -> list[dict[str, Any]]:
        """The spans of our service with this name, newest first."""
        query = urlencode({"service": "inference-gateway", "operation": operation, "limit": 100})
        with urlopen(f"http://127.0.0.1:{self._query}/api/traces?{query}", timeout=5) as answer:
            traces = json.load(answer)["data"] or ()
        return [span for trace in traces for span in trace["spans"] if span["operationName"] == operation]

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
