"""Memory stays where it is: under load, request after request, and with many idle connections."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from held_out import DIGITS, inputs
from running import Running, start

from gateway.ledger import export, record
from gateway.ledger.reader import shards
from gateway.v1.inference import ModelInferRequest

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
WARM_UP = 50_000
STEP = 20_000
CONNECTIONS = 1000
MB = 1_000_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"

pytestmark = pytest.mark.soak


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    running = start(tmp_path / "data")
    yield running
    running.stop()


def resident(gateway: Running) -> int:
    return int(gateway.child("gateway: worker 0").memory_info().rss)


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """One held-out digit as h2load sends it."""
    image = inputs(DIGITS)[:1]
    request = ModelInferRequest(model_name="digits")
    request.inputs.add(name="image", datatype="FP32", shape=image.shape)
    request.raw_input_contents.append(image.astype(np.float32).tobytes())
    message = request.SerializeToString()
    path = tmp_path / "body"
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def load(gateway: Running, body: Path, key: str, requests: int) -> None:
    command = ["h2load", "-n", str(requests), "-c", "8", "-m", "16", "-d", str(body)]
    for header in ("content-type: application/grpc", "te: trailers", f"x-api-key: {key}"):
        command += ["-H", header]
    command.append(f"http://{gateway.url}/inference.GRPCInferenceService/ModelInfer")
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert f"{requests} succeeded, 0 failed" in done.stdout, done.stdout


def answered(gateway: Running) -> int:
    """Calls in the ledger that were answered: read leaf by leaf, since a million rows are too many to hold."""
    root = gateway.data / "ledger"
    leaves = (leaf for shard in shards(root) for leaf in export.leaves(root, shard))
    return sum(record.decode(leaf).outcome == "answered" for leaf in leaves if export.is_call(leaf))


def test_a_million_requests_leave_less_than_five_megabytes(gateway: Running, body: Path) -> None:
    if shutil.which("h2load") is None:
        assert "CI" not in os.environ, "CI has h2load: apt-get install nghttp2-client"
        pytest.skip("h2load is not on PATH: apt-get install nghttp2-client")
    key = gateway.key("post-reader", "research")
    load(gateway, body, key, WARM_UP)
    before, sent, end = resident(gateway), 0, time.monotonic() + SECONDS
    while time.monotonic() < end and sent < 1_000_000:
        load(gateway, body, key, STEP)
        sent += STEP
    grown = resident(gateway) - before
    assert grown < 5 * MB, f"{grown / MB:.1f} MB more after {sent:,} requests"
    assert answered(gateway) == WARM_UP + sent


@pytest.fixture
def files() -> None:
    """Enough file descriptors, here and in the processes that are started after."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CONNECTIONS:
        pytest.skip(f"this machine allows {hard} open files, {2 * CONNECTIONS} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CONNECTIONS), hard))


def test_a_thousand_idle_connections_cost_less_than_sixty_megabytes(files: None, gateway: Running) -> None:
    before = resident(gateway)
    host, port = gateway.url.rsplit(":", 1)
    connections = []
    for _ in range(CONNECTIONS):
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.sendall(PREFACE)
        connections.append(connection)
    for connection in connections:
        assert connection.recv(9), "the server's own SETTINGS must come"
    grown = resident(gateway) - before
    for connection in connections:
        connection.close()
    assert grown < 60 * MB, f"{CONNECTIONS} connections cost {grown / MB:.1f} MB"
