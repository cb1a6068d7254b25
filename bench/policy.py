"""What a decision costs, in microseconds: cache hit, miss, and OPA over each transport.

    .venv/bin/python bench/policy.py            # prints one table; OPA rows need opa (deploy/install-tools.sh)

Medians and 99th percentiles of single calls, one caller, on the shipped policies; rows marked CPU are CPU time, which
holds on a busy machine too. The law: a hit at most 3 us, a miss at most 150 us, OPA over its own connections at most
300 us, on the reference machine (2 vCPU).
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.policy.bundle import Bundle
from gateway.policy.cache import DecisionCache
from gateway.policy.connections import Address, Pool
from gateway.policy.files import read_directory
from gateway.policy.input import document, encode
from gateway.policy.obligations import merge
from gateway.policy.opa import OpaPoint
from gateway.policy.opa_control import OpaControl
from gateway.policy.pdp import Query
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway, check
from gateway.types import (
    Action,
    Call,
    Context,
    Credentials,
    ModelFacts,
    ModelRef,
    Principal,
    ServableId,
    Tensor,
    TraceContext,
)

ROOT = Path(__file__).parents[1]
HIT_US, MISS_US, OPA_US = 3.0, 150.0, 300.0


def query(rows: int = 8) -> Query:
    """A call that the shipped policies allow with an obligation."""
    context = Context(
        action=Action(group="inference", name="infer", service="inference.GRPCInferenceService", method="ModelInfer"),
        trace=TraceContext(trace_id="a" * 32, span_id="b" * 16),
        credentials=Credentials(),
        received_us=1_795_000_000_000_000,
        received_ns=1,
        peer="10.1.2.3",
    )
    tensor = Tensor(name="features", datatype="FP32", shape=(rows, 30), data=bytes(120 * rows))
    return Query(
        principal=Principal(id="intake-app", kind="service", tenant="clinic", auth="api_key"),
        context=context,
        model=ModelFacts(id=ServableId("breast-cancer", "1", "sha256:00"), batching=True),
        requested="breast-cancer",
        call=Call(context=context, model=ModelRef("breast-cancer"), inputs=(tensor,)),
    )


async def each(act: Callable[[], Awaitable[object]], rounds: int) -> tuple[float, float]:
    """Median and 99th percentile in microseconds."""
    for _ in range(rounds // 10):
        await act()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter_ns()
        await act()
        times.append((time.perf_counter_ns() - begun) / 1000)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


async def cpu(act: Callable[[], Awaitable[object]], rounds: int) -> float:
    """CPU microseconds a call, the best of five runs: unlike wall time, it holds on a busy machine."""
    runs = []
    for _ in range(5):
        begun = time.process_time_ns()
        for _ in range(rounds // 5):
            await act()
        runs.append((time.process_time_ns() - begun) / 1000 / (rounds // 5))
    return min(runs)


def start_opa(binary: str, folder: str) -> tuple[subprocess.Popen[bytes], str]:
    """An OPA server on a Unix socket with the shipped bundle."""
    path = f"{folder}/opa.sock"
    command = [binary, "run", "--server", "--addr", f"unix://{path}", "--disable-telemetry", "--log-level", "error"]
    process = subprocess.Popen([*command, "-b", str(ROOT / "policies")])
    while not Path(path).exists():
        time.sleep(0.05)
    time.sleep(0.3)
    return process, f"unix://{path}"


async def opa_rows(table: Table, url: str) -> None:
    """Both transports to OPA."""
    address, asked = Address.parse(url), query()
    point = OpaPoint(Pool(address), address, gateway=Gateway(), clock_ns=time.monotonic_ns, budget_ms=5000)
    fast = await each(lambda: point.decide(asked), 1500)
    row(table, f"miss, OPA, own connections over a Unix socket (law: {OPA_US:g})", fast)
    raw = encode(document(asked, Gateway()))
    async with OpaControl(address) as control:
        row(table, "miss, OPA, opa-python-client over a Unix socket", await each(lambda: control.ask(raw, 5), 500))
    point.close()


def row(table: Table, name: str, measured: tuple[float, float]) -> None:
    """One line of the table."""
    table.add_row(name, f"{measured[0]:.1f}", f"{measured[1]:.1f}")


async def measure() -> None:
    """Measure and print."""
    bundle = Bundle.linted(read_directory(ROOT / "policies"))
    asked, gateway = query(), Gateway()
    cached = EmbeddedPoint(bundle, gateway=gateway, cache=DecisionCache())
    plain = EmbeddedPoint(bundle, gateway=gateway)
    decision = await cached.decide(asked)
    table = Table("decision", "p50 us", "p99 us", title=f"{platform.machine()}, Python {platform.python_version()}")
    row(table, f"miss, embedded (law: {MISS_US:g})", await each(lambda: plain.decide(asked), 3000))
    hit = await cpu(lambda: cached.decide(asked), 100_000)
    miss = await cpu(lambda: plain.decide(asked), 5_000)
    table.add_row(f"hit, embedded, CPU (law: {HIT_US:g})", f"{hit:.2f}", "")
    table.add_row("miss, embedded, CPU", f"{miss:.1f}", "")
    raw = encode(document(asked, gateway))

    async def build() -> None:
        check(encode(document(asked, gateway)))

    async def duties() -> None:
        merge(decision.obligations)

    table.add_row(f"of a miss, CPU: build, encode and check {len(raw)} bytes", f"{await cpu(build, 10_000):.2f}", "")
    table.add_row("merge a cached decision's obligations, CPU", f"{await cpu(duties, 50_000):.2f}", "")
    binary = shutil.which("opa") or shutil.which("opa", path=str(ROOT / ".tools" / "bin"))
    console = Console()
    if binary is None:
        console.print("opa is not installed (deploy/install-tools.sh): its rows are left out")
    else:
        with tempfile.TemporaryDirectory() as folder:
            process, url = start_opa(binary, folder)
            try:
                await opa_rows(table, url)
            finally:
                process.terminate()
                process.wait()
    console.print(table)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(measure())


if __name__ == "__main__":
    main()
