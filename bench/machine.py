"""What a figure was measured on; printed above every table."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import time
from pathlib import Path

PACKAGES = ("inference-gateway", "httpunk", "uvloop", "grpcio", "onnxruntime", "msgspec", "protobuf")


def describe() -> str:
    """Processor, kernel, Python, packages, commit: one line each."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return "\n".join(
        (
            f"machine   {model[1] if model else platform.processor()}, {os.cpu_count()} CPUs, {platform.platform()}",
            f"python    {platform.python_version()}, {versions}",
            f"commit    {commit.stdout.strip() or 'unknown'}",
        )
    )


def cores() -> tuple[int | None, int | None]:
    """A core for the server and another for the load; None where the machine cannot keep them apart."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


def fdatasync_us(directory: Path, size: int = 48 * 1024, rounds: int = 300) -> float:
    """What one fdatasync takes below ``directory`` after ``size`` bytes were written over: the median, in microseconds.

    A lone commit of the ledger writes about three pages of 16 KiB over old ones of its log.
    """
    path, data, times = directory / "fdatasync", os.urandom(size), []
    with path.open("wb", buffering=0) as file:
        file.write(data * 8)
        os.fsync(file.fileno())
        for turn in range(rounds):
            file.seek(turn % 8 * size)
            file.write(data)
            begun = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter_ns() - begun)
    path.unlink()
    return statistics.median(times) / 1e3
