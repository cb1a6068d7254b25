"""Envoy with OPA in front of the bare server, as one tree of processes.

    envoy_stack.py ENVOY OPA BARE MODEL SCRATCH PORT

Every call with its body is decided by OPA (a local socket, decision log on its console) before Envoy passes it on. Ends
all three on SIGTERM or when one of them ends.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).with_name("envoy")


def main() -> None:
    envoy, opa, bare, model, scratch, port = sys.argv[1:]
    model_port = _free_port()
    values = {"SCRATCH": scratch, "PORT": port, "MODEL_PORT": str(model_port)}
    for name in ("envoy.yaml", "opa.yaml", "policy.rego"):
        text = (HERE / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        Path(scratch, name).write_text(text)
    opa_options = ["--addr", f"unix://{scratch}/api.sock", "--config-file", f"{scratch}/opa.yaml"]
    commands = (
        [sys.executable, bare, "--model", model, "--port", str(model_port)],
        [opa, "run", "--server", *opa_options, f"{scratch}/policy.rego"],
        [envoy, "--config-path", f"{scratch}/envoy.yaml", "--concurrency", "1", "--log-level", "warning"],
    )
    children = [subprocess.Popen(command) for command in commands]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while all(child.poll() is None for child in children):
            time.sleep(0.1)
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
