"""The gateway as the demo runs it: a child process, as an operator would start it, on ports that are free."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND = (sys.executable, "-P", "-m", "gateway")
PROGRAM = os.path.relpath(Path(sys.executable).with_name("gateway"))
"""How this command is called from where the reader stands."""

HOST = "127.0.0.1"
START_S = 30.0
STOP_S = 30.0
READY = re.compile(r"gateway ready on \S+:(\d+)")


class DemoFailed(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(slots=True)
class Gateway:
    """A gateway that answers on ``port``."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    log: Path

    def stop(self) -> None:
        """End it as an operator would and wait until it has drained."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(data: Path, models: Path, policies: Path, port: int, admin_port: int) -> Gateway:
    """Start the gateway with its state in ``data`` and wait until it is ready.

    Raises: DemoFailed with the end of its log when it does not become ready.
    """
    data.mkdir(parents=True, exist_ok=True)
    log = data / "gateway.log"
    options = ["--models", models, "--policies", policies, "--data", data]
    options += ["--host", HOST, "--port", port, "--admin-port", admin_port]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "serve", *map(str, options)],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours: we stop it once, in order
        )
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        if ready := READY.search(log.read_text(errors="replace")):
            return Gateway(process, int(ready[1]), admin_port, log)
        time.sleep(0.05)
    process.kill()
    process.wait()
    said = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise DemoFailed(f"the gateway did not become ready; its log ({log}) ends:\n{said}")


def create_key(data: Path, id: str, tenant: str) -> str:
    """A new API key. Raises: DemoFailed."""
    done = run(["keys", "create", "--id", id, "--tenant", tenant, "--data", str(data)])
    return done.strip().splitlines()[-1]


def run(arguments: Sequence[str]) -> str:
    """What ``gateway`` with ``arguments`` prints. Raises: DemoFailed unless it ends with status 0."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"`gateway {' '.join(arguments)}` ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout


def demonstrate(arguments: Sequence[str]) -> None:
    """Let ``gateway`` with ``arguments`` print where we print, as wide and as coloured. Raises: DemoFailed."""
    sys.stdout.flush()
    done = subprocess.run([*COMMAND, *arguments], check=False)
    if done.returncode != 0:
        raise DemoFailed(f"`gateway {' '.join(arguments)}` ended with status {done.returncode}")


def free_port(wanted: int) -> int:
    """``wanted`` if nobody listens there, else one that the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            bound: int = probe.getsockname()[1]
            return bound
    raise DemoFailed(f"no free port on {HOST}")
