"""Starting the servers under test, pinning them, and reading what they cost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
GATEWAY = str(Path(sys.executable).with_name("gateway"))
BARE = str(Path(__file__).with_name("bare.py"))
READY = re.compile(r"ready on [^\s:]+:(\d+)")
PRINCIPAL, TENANT = "bench", "research"
START_S = 30.0
STOP_S = 30.0


class NotReady(Exception):
    """A server ended, or did not say in time that it is ready."""


@dataclass(slots=True)
class Server:
    """A running server. ``serving`` are the processes that answer; what else it runs stands aside."""

    name: str
    process: subprocess.Popen[str]
    port: int
    serving: list[psutil.Process] = field(default_factory=list)
    beside: list[psutil.Process] = field(default_factory=list)

    def pin(self, core: int | None, other: int | None) -> None:
        """Hold what answers on ``core`` and the rest (observer, supervisor) on ``other``."""
        for processes, where in ((self.serving, core), (self.beside, other)):
            for process in processes:
                if where is not None:
                    for thread in process.threads():
                        os.sched_setaffinity(thread.id, {where})

    def cpu_s(self) -> float:
        """CPU seconds that the answering processes have used."""
        return sum(sum(process.cpu_times()[:2]) for process in self.serving)

    def rss_mb(self) -> float:
        """Resident memory of the answering processes."""
        return sum(process.memory_info().rss for process in self.serving) / 1e6

    def settle(self, limit_s: float = 15.0) -> None:
        """Wait until nothing of this server is busy, so that the next one is measured alone."""
        everyone = [*self.serving, *self.beside]
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            before = sum(sum(p.cpu_times()[:2]) for p in everyone)
            time.sleep(0.3)
            if sum(sum(p.cpu_times()[:2]) for p in everyone) - before < 0.03:
                return

    def stop(self) -> None:
        """End it as an operator would; wait until it has drained. Raises: subprocess.TimeoutExpired."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_S)


def bare(transport: str, model: Path) -> Server:
    """The bare server on ``transport``."""
    server = start(f"bare {transport}", [sys.executable, BARE, "--transport", transport, "--model", str(model)])
    server.serving.append(psutil.Process(server.process.pid))
    return server


def governed(
    transport: str,
    data: Path,
    *,
    models: Path,
    policies: Path,
    extra: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    program: str | None = None,
) -> Server:
    """The gateway on ``transport`` with its ledger in ``data``; ``program`` is another environment's command."""
    command = [program or GATEWAY, "serve", "--transport", transport, "--data", str(data), "--models", str(models)]
    command += ["--policies", str(policies), "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", *extra]
    server = start(f"governed {transport}", command, env)
    supervisor = psutil.Process(server.process.pid)
    for process in supervisor.children(recursive=True):
        (server.serving if "worker" in " ".join(process.cmdline()) else server.beside).append(process)
    server.beside.append(supervisor)
    if not server.serving:
        server.stop()
        raise NotReady(f"{server.name}: no process names itself 'gateway: worker N'")
    return server


def create_key(data: Path) -> str:
    """An API key for the benchmarks' principal."""
    command = [GATEWAY, "keys", "create", "--id", PRINCIPAL, "--tenant", TENANT, "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def start(name: str, command: list[str], env: dict[str, str] | None = None) -> Server:
    """Run ``command`` and wait for its ready line. Raises: NotReady with what it said instead."""
    with tempfile.NamedTemporaryFile("w+", prefix="bench-", suffix=".log") as log:  # a pipe that no one reads blocks
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
        )
        end = time.monotonic() + START_S
        while time.monotonic() < end and process.poll() is None:
            said = Path(log.name).read_text()
            if ready := READY.search(said):
                return Server(name, process, int(ready[1]))
            time.sleep(0.05)
        process.kill()
        process.wait()
        raise NotReady(f"{name} is not ready: {' '.join(command)}\n{Path(log.name).read_text()}")
