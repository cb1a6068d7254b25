"""Instructions that a governed call takes, by thread: a figure that does not mind a busy machine.

Runs the whole handler, 64 calls in flight, under valgrind's callgrind, which counts only while calls run. The same code
gives the same figure within some parts in a thousand, however busy the machine is, so two checkouts can be compared by
it. It says nothing of caches, of system calls or of waiting; valgrind knows no SHA instructions, so hashing looks ten
times dearer than it is, and large copies look dearer too.

    python bench/instructions.py --bursts 40
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import uvloop
from request import MODEL
from rich.console import Console
from rich.table import Table
from servers import ROOT, create_key
from stages import Stages

from gateway.config import Config
from gateway.config.tree import Models, Policy
from gateway.policy.cache import DecisionCache
from gateway.serving import turn
from gateway.serving.pace import Pace

COMPANY = 64


def stop_clocks() -> None:
    """Under valgrind seconds pass between two calls: let no run count as long, and no decision grow old."""
    keep = DecisionCache.put
    DecisionCache.put = lambda self, key, decision, now: keep(
        self, key, msgspec.structs.replace(decision, ttl_s=10_000), now
    )
    Pace.is_short = lambda self, size: True
    turn.BLOCK_NS = 10**15


async def calls(bursts: int) -> None:
    """Warm up, then count ``bursts`` of calls."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT) as scratch:
        data = Path(scratch)
        config = Config(data=data, models=Models(dirs=(MODEL.parent,)), policy=Policy(dir=ROOT / "policies"))
        stages = Stages(config, create_key(data))
        async with AsyncExitStack() as stack:
            await stages.open(stack)
            for _ in range(10):
                await stages.burst(COMPANY)
            gc.collect()
            gc.freeze()
            count("on")
            for _ in range(bursts):
                await stages.burst(COMPANY)
            count("off")


def count(state: str) -> None:
    """Switch callgrind's counting in this process."""
    subprocess.run(["callgrind_control", "-i", state, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)


def counted(bursts: int) -> list[float]:
    """Instructions a call of every thread, the busiest first. Raises: CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        out = Path(scratch) / "counts"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
        inner = [sys.executable, __file__, "--inner", "--bursts", str(bursts)]
        environ = os.environ | {"PYTHONHASHSEED": "0"}
        subprocess.run([*valgrind, f"--callgrind-out-file={out}", *inner], check=True, capture_output=True, env=environ)
        totals = [total(path) for path in out.parent.glob("counts-*")]
    return sorted((each / (bursts * COMPANY) for each in totals), reverse=True)


def total(path: Path) -> int:
    """The sum that a file of callgrind ends with."""
    lines = [line for line in path.read_text().splitlines() if line.startswith(("totals:", "summary:"))]
    return int(lines[-1].split()[1]) if lines else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bursts", type=int, default=40)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        stop_clocks()
        uvloop.run(calls(options.bursts))
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is missing: install the package valgrind")
    threads = counted(options.bursts)
    table = Table("thread", "instructions a call")
    table.columns[1].justify = "right"
    for name, figure in zip(("the loop's", "the ledger's"), threads, strict=False):
        table.add_row(name, f"{figure:,.0f}")
    table.add_row("others", f"{sum(threads[2:]):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
