"""What a record costs: CPU per record, commit latency, records per commit, encoding, verification.

    .venv/bin/python bench/ledger.py [--records N] [--directory DIR]

Producers keep a fixed number of records in flight on one event loop; the writer thread commits whatever
waits. Everything runs in one process, so the CPU figure covers building, encoding, hashing, the tree,
SQLite and the wake-ups; ``--directory`` chooses the disk (default: the system's temporary directory).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.ledger.commitment import Salts, commit
from gateway.ledger.leaf import encode
from gateway.ledger.ledger import Payload
from gateway.ledger.record import Record
from gateway.ledger.shard import ShardLedger
from gateway.ledger.verify import verify
from gateway.types import Tensor

ROW = Tensor(name="features", datatype="FP32", shape=(1, 30), data=os.urandom(120))
SALTS = Salts()


def clock_us() -> int:
    """Wall clock."""
    return time.time_ns() // 1000


def a_call(shard: str, seq: int, boot: str) -> Record:
    """A record as full as those of the gateway (about 1.3 kB)."""
    return Record(
        v=1, kind="call", shard=shard, seq=seq, boot=boot, t_us=clock_us(), dur_us=1_234, tenant="acme",
        principal="app-scoring", kind_p="service", purpose="credit", auth="api_key", cred="k_abc123",
        method="ModelInfer", action="infer:ModelInfer", asked="credit", model="credit", version="17",
        model_sha="f" * 64, manifest_sha="e" * 64, route="champion", rt="0" * 16, batch_n=8, batch_i=2, allow=True,
        effect="enforced", decision_id="d" * 32, obligations=("limit", "mask_outputs"), policy_rev="2026-11-20",
        policy_sha="c" * 64, engine="embedded", in_c="1" * 64, out_c="2" * 64, pol_c="3" * 64, rows=2, in_b=240,
        out_b=16, payload="digest", status="OK", outcome="answered", stage="record",
        ph={"authenticate": 10, "decide": 20, "queue": 40, "infer": 1_100, "record": 1_150}, trace="4" * 32,
        span="5" * 16, flags="01",
    )  # fmt: skip


def each_us(function: Callable[[], object], rounds: int = 20_000) -> float:
    """Microseconds per call, best of five."""
    best = 1e9
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(rounds):
            function()
        best = min(best, (time.perf_counter() - started) / rounds)
    return best * 1e6


async def load(root: Path, records: int, inflight: int, *, payload: bool) -> dict[str, float]:
    """Append ``records`` with ``inflight`` producers, each waiting for its receipt before the next."""
    ledger = await ShardLedger.open(root, "bench.0", boot={}, clock_us=clock_us, beat_s=3600)
    latencies: list[float] = []
    left = records

    async def produce() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            kept = Payload(salts=SALTS.take() + SALTS.take(), tenant="acme") if payload else None
            await ledger.append(lambda shard, seq: encode(a_call(shard, seq, ledger.boot)), kept)
            latencies.append(time.perf_counter() - started)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[produce() for _ in range(inflight)])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    commits = ledger.commits
    await ledger.close()
    latencies.sort()
    return {
        "rate": records / wall,
        "cpu": cpu / records * 1e6,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[len(latencies) * 99 // 100] * 1e3,
        "batch": records / commits,
    }


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description="What a record costs.")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as in workers
    console = Console()
    console.print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores")
    table = Table("in flight", "payload", "records/s", "CPU us/record", "p50 ms", "p99 ms", "records/commit")
    root = Path(tempfile.mkdtemp(dir=options.directory)) / "ledger"
    try:
        for inflight, payload in [(n, payload) for payload in (False, True) for n in (1, 16, 64, 256, 1024)]:
            count = min(options.records, 400 * inflight) if inflight < 64 else options.records
            got = asyncio.run(load(root, count, inflight, payload=payload))
            cells = [f"{got['rate']:,.0f}", f"{got['cpu']:.1f}", f"{got['p50']:.2f}", f"{got['p99']:.2f}"]
            table.add_row(str(inflight), "salts" if payload else "-", *cells, f"{got['batch']:.1f}")
        console.print(table)
        started = time.perf_counter()
        report = verify(root)
        took, leaves = time.perf_counter() - started, report.coverage[0].leaves
    finally:
        shutil.rmtree(root.parent)
    small = Table("step", "us")
    item = a_call("gw1.0", 123_456_789, "00" * 8)
    small.add_row("build a record", f"{each_us(lambda: a_call('gw1.0', 1, '')):.2f}")
    small.add_row(f"encode it ({len(encode(item)):,} B)", f"{each_us(lambda: encode(item)):.2f}")
    small.add_row("one salted commitment", f"{each_us(lambda: commit('in', SALTS.take(), [ROW])):.2f}")
    small.add_row(f"verify, per record of {leaves:,}", f"{took / leaves * 1e6:.2f}")
    console.print(small)
    console.print(f"verify: {'OK' if report.ok else 'NOT OK'}, a million records in {took / leaves * 1e6:.1f} s")


if __name__ == "__main__":
    main()
