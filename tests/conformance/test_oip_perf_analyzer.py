"""Triton's own load generator, unchanged: it runs to its end in every mode, and its server-side split adds up."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from oip_world import world
from running import Running
from tools import tool

pytestmark = pytest.mark.slow

REQUESTS = 100
AT_ONCE = 2
MODES = {
    "sync": ("--sync",),
    "async": ("--async",),
    "stream": ("--async", "--streaming"),
    "batch": ("-b", "4"),
    "shared memory": ("--shared-memory", "system"),
    "gzip": ("--grpc-compression-algorithm", "gzip"),
}
SPLIT = re.compile(
    r"Avg request latency: (\d+) usec \(overhead (\d+) usec \+ queue (\d+) usec "
    r"\+ compute input (\d+) usec \+ compute infer (\d+) usec \+ compute output (\d+) usec\)"
)


@pytest.fixture(scope="module", params=["h2", "grpcio"])
def gateway(request, tmp_path_factory) -> Iterator[Running]:
    tool("perf_analyzer")
    with world(tmp_path_factory.mktemp("perf"), request.param, "--workers", "2") as running:
        yield running


def run(gateway: Running, *options: str) -> subprocess.CompletedProcess[str]:
    """One measurement of REQUESTS requests, AT_ONCE at a time."""
    command = [tool("perf_analyzer"), "-i", "grpc", "-u", gateway.url, "-m", "simple", "-v"]
    command += ["-H", f"authorization:Bearer {gateway.key('tester', 'lab')}"]
    command += ["--request-count", str(REQUESTS), "--concurrency-range", str(AT_ONCE), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def number(report: str, what: str) -> int:
    found = re.search(rf"^ *{what}: (\d+)", report, re.MULTILINE)
    assert found is not None, report
    return int(found[1])


@pytest.mark.parametrize("mode", MODES)
def test_its_report_adds_up(gateway, mode):
    done = run(gateway, *MODES[mode])
    assert done.returncode == 0, done.stdout + done.stderr
    report = done.stdout
    client, server = report.split("  Server: ")
    rows = 4 if mode == "batch" else 1
    sent, succeeded = number(client, "Request count"), number(server, "Successful request count")
    assert sent >= REQUESTS
    assert (
        abs(sent - succeeded) <= 2 * AT_ONCE
    )  # it asks for the counts while its first and last requests are under way
    assert number(server, "Inference count") == succeeded * rows
    assert 0 < number(server, "Execution count") <= succeeded
    split = SPLIT.search(server)
    assert split is not None, report
    total, *parts = map(int, split.groups())
    assert abs(total - sum(parts)) <= len(parts)  # each is rounded
    assert 0 < total < number(client, "Avg latency")


def test_it_sends_no_credential_with_trace_settings_and_is_told_so(gateway):
    done = run(gateway, "--trace-level", "TIMESTAMPS")
    assert done.returncode != 0
    assert "authentication failed: send a valid credential" in done.stdout + done.stderr
