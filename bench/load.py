"""Closed-loop gRPC load with h2load: one request body, sent again and again over C connections x M streams."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SILENCE = "10s"
"""A server that says nothing for so long will not answer any more."""

METHOD = "inference.GRPCInferenceService/ModelInfer"
STREAM_METHOD = "inference.GRPCInferenceService/ModelStreamInfer"
HOW_TO_GET_IT = (
    "h2load is not on PATH; it comes with nghttp2: 'apt-get install nghttp2-client' (Debian, Ubuntu), "
    "'dnf install nghttp2' (Fedora), 'brew install nghttp2' (macOS)"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """``connections`` clients, each with ``streams`` requests in flight."""

    connections: int
    streams: int

    def __str__(self) -> str:
        return f"{self.connections} x {self.streams}"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of h2load saw. Latencies in microseconds, ``data_bytes`` without headers and trailers."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    data_bytes: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class LoadFailed(Exception):
    """h2load did not get an answer to every request."""


def require_h2load() -> None:
    """Exit with a way to get h2load if it is missing."""
    if shutil.which("h2load") is None:
        sys.exit(HOW_TO_GET_IT)


def framed(message: bytes) -> bytes:
    """``message`` behind gRPC's prefix: not compressed, length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def send(
    port: int,
    body: Path,
    requests: int,
    shape: Shape,
    *,
    headers: tuple[str, ...] = (),
    core: int | None = None,
    rate: float = 0,
    method: str = METHOD,
) -> Load:
    """Send the framed ``body`` ``requests`` times to ``method`` and wait for every answer.

    With ``rate`` (requests a second) sending follows the clock and not the answers, as long as streams are left.

    Raises: LoadFailed unless every request got a 2xx and a complete body. (A gRPC refusal is a 200 without a
    body: compare ``data_bytes`` with what a good answer has.)
    """
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        command = ["h2load", "-t", "1", "-n", str(requests), "-c", str(shape.connections), "-m", str(shape.streams)]
        command += ["-d", str(body), f"--log-file={log}", f"--connection-inactivity-timeout={SILENCE}"]
        if rate:
            command.append(f"--rps={rate / shape.connections:.3f}")
        for header in ("content-type: application/grpc", "te: trailers", *headers):
            command += ["-H", header]
        command.append(f"http://127.0.0.1:{port}/{method}")
        if core is not None:
            command = ["taskset", "--cpu-list", str(core), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise LoadFailed(done.stdout + done.stderr)
        return parse(done.stdout, log)


def parse(output: str, log: Path) -> Load:
    """What h2load printed and logged, as numbers. Raises: LoadFailed."""
    counts = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", output)
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m),", output)
    data = re.search(r"headers .*\((\d+)\) data|, [\d.]+\w* \((\d+)\) data", output)
    if counts is None or finished is None or data is None:
        raise LoadFailed(f"cannot read what h2load printed:\n{output}")
    total, done, succeeded, failed = map(int, counts.groups())
    if not total == done == succeeded or failed:
        raise LoadFailed(output)
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[finished[2]]
    p50, p99 = np.percentile(np.loadtxt(log, usecols=2, dtype=np.float64, ndmin=1), (50, 99))
    return Load(total, float(finished[1]) * unit, float(p50), float(p99), int(data[1] or data[2]))
