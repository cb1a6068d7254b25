"""What a large ledger costs: an append, a reopening and a verification, when it holds nothing, a million, and more.

    .venv/bin/python bench/ledger_growth.py [--records 10000000] [--directory DIR]

Nothing on the append path may grow with what is there already: the rows of the table must not differ but by noise. The
ledger is filled by appending, so ten million records take minutes and 20 GB. Needs the disk for as long as it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from ledger import clock_us, load
from machine import describe
from rich.console import Console

from gateway.cli.ledger_print import progress
from gateway.ledger import authority, sealing
from gateway.ledger.shard import ShardLedger
from gateway.ledger.verify import total, verify

SAMPLE, CALLERS = 50_000, 64
_FILLERS = 1_024


class Cost(NamedTuple):
    """At ``size`` records: an append (CPU and commit latency), and the time until a restarted shard can append.

    A restart looks at every page of the newest segment, about a second a gigabyte: it varies with how full that is.
    """

    size: int
    cpu_us: float
    p50_ms: float
    p99_ms: float
    open_ms: float


def fill(root: Path, size: int) -> None:
    """Append until the ledger holds at least ``size`` records, and seal what is full, so that no sample pays for it."""
    if (lacking := size - total(root)) > 0:
        asyncio.run(load(root, lacking, _FILLERS, payload=False))
        sealing.seal_closed(root / "bench.0")


def measure(root: Path) -> Cost:
    """Open the shard and append a sample, as the gateway does."""
    size = total(root)

    async def opened() -> float:
        started = time.perf_counter()
        ledger = await ShardLedger.open(root, "bench.0", boot={}, clock_us=clock_us, beat_s=3600)
        took = time.perf_counter() - started
        await ledger.close()
        return took

    open_ms = asyncio.run(opened()) * 1e3
    got = asyncio.run(load(root, SAMPLE, CALLERS, payload=True))
    return Cost(size, got["cpu"], got["p50"], got["p99"], open_ms)


def marks(records: int) -> list[int]:
    """Sizes to measure at: nothing, then tenfold steps up to ``records``."""
    tenfold = itertools.takewhile(lambda size: size < records, (10**n for n in itertools.count(6)))
    return [0, *tenfold, records]


def verified(root: Path, console: Console) -> None:
    """Both verifiers over everything, each in one thread."""
    records = total(root)
    with progress(records, quiet=False) as advance:
        started, before = time.perf_counter(), time.process_time()
        report = verify(root, progress=advance)
        took, used = time.perf_counter() - started, time.process_time() - before
    said = "OK" if report.ok else f"NOT OK: {report.findings[:3]}"
    tell(console, "gateway ledger verify", said, records, took, used)
    started, spent = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, authority.VERIFIER, root.parent], capture_output=True, text=True, check=False
    )
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime
    tell(console, "verify_ledger.py", done.stdout.splitlines()[-1], records, took, used)


def tell(console: Console, what: str, said: str, records: int, took_s: float, cpu_s: float) -> None:
    """One line on one verification."""
    each = f"{took_s / records * 1e6:.1f} s a million, {cpu_s / records * 1e6:.1f} s of CPU"
    console.print(f"{what}: {said}; {records:,} records in {took_s:.1f} s; {each}")


def main() -> None:
    """Print a line for each size, as soon as it was measured, and one for each verifier."""
    parser = argparse.ArgumentParser(description="What a large ledger costs.")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument(
        "--directory", type=Path, help="on the disk to be measured, with 2 GB of room a million records"
    )
    options = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as in workers
    console = Console(width=160, highlight=False)
    console.print(describe())
    console.print(f"{'records there':>14} {'CPU us/record':>14} {'p50 ms':>7} {'p99 ms':>7} {'reopen ms':>10}")
    root = Path(tempfile.mkdtemp(dir=options.directory)) / "ledger"
    try:
        for size in marks(options.records):
            fill(root, size)
            cost = measure(root)
            figures = f"{cost.p50_ms:>7.2f} {cost.p99_ms:>7.2f} {cost.open_ms:>10.0f}"
            console.print(f"{cost.size:>14,} {cost.cpu_us:>14.1f} {figures}")
        used = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        console.print(f"{used / total(root):,.0f} B on disk a record")
        verified(root, console)
    finally:
        shutil.rmtree(root.parent)


if __name__ == "__main__":
    main()
