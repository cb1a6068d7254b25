"""What the model runtime costs and gains, alone in one process: ``python bench/serving.py``.

Prints machine and library versions, the micro-costs of a call (validate, resolve, lease, infer beside the bare run),
what a hop to a thread costs, and throughput with and without batching while busy. Ratios matter more than absolutes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from gateway.serving.manager import Manager
from gateway.serving.model import ModelServable
from gateway.serving.onnx import OnnxRuntime
from gateway.serving.servable import ValidTensors
from gateway.serving.settings import ModelSettings
from gateway.serving.sources import DirectorySource
from gateway.serving.version_files import VersionFiles
from gateway.types import Decision, ModelRef, Permit, ServableId, Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from serving_graphs import matmul, place

CALLERS, SECONDS = 64, 2.0


def load(runtime: OnnxRuntime, data: bytes) -> ModelServable:
    """``data`` as a servable."""
    root = Path(tempfile.mkdtemp()) / "m"
    path = root / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    id_ = ServableId("m", "1", f"sha256:{hashlib.sha256(data).hexdigest()}")
    return runtime.loader(id_, VersionFiles(root, path), ModelSettings()).load()


def tensor(width: int, rows: int = 1) -> Tensor:
    """One FP32 input."""
    return Tensor(name="x", datatype="FP32", shape=(rows, width), data=np.ones((rows, width), np.float32).tobytes())


def us(work: Callable[[], object], count: int = 5000) -> float:
    """The best of five means, in microseconds."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter_ns()
        for _ in range(count):
            work()
        best = min(best, (time.perf_counter_ns() - started) / count / 1000)
    return best


async def awaited_us(servable: ModelServable, given: ValidTensors, company: int) -> float:
    """The best of five means, in microseconds a call, of ``company`` calls in one turn of the loop."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter_ns()
        for _ in range(500):
            await asyncio.gather(*(servable.infer(given) for _ in range(company)))
        best = min(best, (time.perf_counter_ns() - started) / (500 * company) / 1000)
    return best


async def micro(table: Table, runtime: OnnxRuntime) -> None:
    """The costs of one call."""
    root = Path(tempfile.mkdtemp())
    place(root, "m", matmul(16, 2))
    manager = Manager(runtime.executor)
    inline = replace(runtime, inline_ns=10**9)
    await manager.start(DirectorySource([root], parse=lambda _: ModelSettings(), make=inline.loader))
    facts = manager.resolve(ModelRef("m"))
    permit = Permit(facts.id, Decision(id="d", allow=True, servable=facts.id))
    servable = manager.servable(facts.id)
    inputs = (tensor(16),)
    given = servable.signature.validate(inputs)
    session = ort.InferenceSession(matmul(16, 2))

    def lend() -> None:
        with manager.lease(permit):
            pass

    table.add_row("validate one FP32 [1,16]", f"{us(lambda: servable.signature.validate(inputs)):.2f} us")
    table.add_row("resolve a name", f"{us(lambda: manager.resolve(ModelRef('m'))):.2f} us")
    table.add_row("lease and give back", f"{us(lend):.2f} us")
    table.add_row("bare onnxruntime run", f"{us(lambda: session.run(['y'], dict(given))):.2f} us")
    for company in (1, 16):
        spent = await awaited_us(servable, given, company)
        table.add_row(f"infer on the loop, {company} in a turn (run, encode, count)", f"{spent:.2f} us a call")
    threaded = load(replace(runtime, inline_ns=0), matmul(16, 2))
    started = time.perf_counter_ns()
    for _ in range(2000):
        await threaded.infer(given)
    table.add_row("infer through a thread", f"{(time.perf_counter_ns() - started) / 2000 / 1000:.2f} us")
    await manager.close()


async def throughput(servable: ModelServable, width: int) -> tuple[float, float]:
    """Calls a second of ``CALLERS`` callers, and the mean rows of a batch."""
    given = servable.signature.validate((tensor(width),))
    end = time.perf_counter() + SECONDS

    async def caller() -> int:
        count = 0
        while time.perf_counter() < end:
            await servable.infer(given)
            count += 1
        return count

    total = sum(await asyncio.gather(*[caller() for _ in range(CALLERS)]))
    counts = servable.statistics(now_ns=0, now_ms=0)
    return total / SECONDS, counts.inference_count / max(counts.execution_count, 1)


async def batching(table: Table, runtime: OnnxRuntime) -> None:
    """Throughput with and without sharing runs."""
    for width, depth in ((256, 8), (1024, 8)):
        data = matmul(width, depth)
        alone = load(replace(runtime, inline_ns=0, default_max_batch_size=1), data)
        shared = load(replace(runtime, inline_ns=0), data)
        for name, servable in (("one by one", alone), ("batched while busy", shared)):
            rate, rows = await throughput(servable, width)
            table.add_row(
                f"{depth} x [{width},{width}], {CALLERS} callers, {name}", f"{rate:,.0f}/s, {rows:.1f} rows a run"
            )


def memory(table: Table, runtime: OnnxRuntime) -> None:
    """Whether the estimate is an upper bound."""
    data = matmul(4096, 1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _peak()
    servable = load(runtime, data)
    grown = _peak() - before
    table.add_row(f"memory of a model of {len(data) >> 20} MiB", f"{grown >> 20} MiB at its peak")
    table.add_row("its estimate", f"{(3 * len(data) + (16 << 20)) >> 20} MiB")
    servable.close()


def _peak() -> int:
    """The largest resident size so far, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Print one table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    title = f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, ort {ort.__version__}"
    table = Table("what", "cost", title=title)
    with ThreadPoolExecutor(2) as executor:
        runtime = OnnxRuntime(executor=executor)
        memory(table, runtime)
        asyncio.run(micro(table, runtime))
        asyncio.run(batching(table, runtime))
    Console().print(table)


if __name__ == "__main__":
    main()
