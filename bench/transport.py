"""What the transports cost: echo of one small request over each, beside httpunk's own driver bare.

The server has one core, h2load the other. The servers take turns in every round; the median round is printed.
``overhead`` is CPU per request against *bare*, which reads the body and sends it back, while ``h2`` and ``grpcio``
also read metadata and deadline, and send two trailers.

    python bench/transport.py [--rounds 3] [--seconds 2]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
from load import Load, Shape, framed, require_h2load, send
from machine import cores, describe
from rich.console import Console
from rich.table import Table
from servers import Server, start

KINDS = ("bare", "h2", "grpcio")
SHAPES = (Shape(8, 16), Shape(1, 1))
WARM_UP = 2000
BODY_BYTES = 303
HEADERS = (
    "grpc-timeout: 10S",
    "user-agent: grpc-python/1.80.0",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "authorization: Bearer gk_0123456789abcdef0123456789abcdef",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One server under one load."""

    load: Load
    cpu_us: float


def measure(server: Server, shape: Shape, body: Path, seconds: float) -> Sample:
    """Warm up, then load for about ``seconds``."""
    core, other = cores()
    server.pin(core, other)
    warm = send(server.port, body, WARM_UP, shape, headers=HEADERS, core=other)
    before = server.cpu_s()
    load = send(server.port, body, max(WARM_UP, int(warm.rate * seconds)), shape, headers=HEADERS, core=other)
    return Sample(load, (server.cpu_s() - before) / load.requests * 1e6)


def echo_server(kind: str) -> Server:
    """A running echo server of one kind."""
    server = start(kind, [sys.executable, str(Path(__file__).with_name("echo.py")), kind])
    server.serving.append(psutil.Process(server.process.pid))
    return server


def table(samples: dict[tuple[str, Shape], list[Sample]]) -> Table:
    """The medians, shape by shape."""
    drawn = Table(title=f"echo of {BODY_BYTES} bytes, median of rounds")
    for name in ("transport", "load", "req/s", "p50 us", "p99 us", "CPU us/req", "overhead"):
        drawn.add_column(name, justify="left" if name in ("transport", "load") else "right")
    for shape in SHAPES:
        bare = statistics.median(s.cpu_us for s in samples["bare", shape])
        for kind in KINDS:
            runs = samples[kind, shape]
            middle = sorted(runs, key=lambda s: s.load.rate)[len(runs) // 2].load
            cpu = statistics.median(s.cpu_us for s in runs)
            numbers = (f"{middle.rate:,.0f}", f"{middle.p50_us:,.0f}", f"{middle.p99_us:,.0f}", f"{cpu:.1f}")
            drawn.add_row(kind, str(shape), *numbers, f"{cpu / bare - 1:+.0%}")
    return drawn


def main() -> None:
    """Start the servers, take turns, print one table."""
    parser = argparse.ArgumentParser(description="what the transports cost")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    require_h2load()
    samples: dict[tuple[str, Shape], list[Sample]] = {(kind, shape): [] for kind in KINDS for shape in SHAPES}
    servers: dict[str, Server] = {}
    try:
        with tempfile.NamedTemporaryFile("wb") as file:
            file.write(framed(bytes(BODY_BYTES)))
            file.flush()
            servers = {kind: echo_server(kind) for kind in KINDS}
            for _ in range(asked.rounds):
                for shape in SHAPES:
                    for kind, server in servers.items():
                        samples[kind, shape].append(measure(server, shape, Path(file.name), asked.seconds))
    finally:
        for server in servers.values():
            server.stop()
    console = Console()
    console.print(describe(), highlight=False)
    console.print(table(samples))


if __name__ == "__main__":
    main()
