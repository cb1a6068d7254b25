"""What the observer costs a record, and whether it keeps up: ``python bench/observer.py [records]``.

Reads a shard of its own making with the followers that the observer runs, one core, and prints records a second
for metrics, usage and traces (sampled to 200 traces a second, handed to nobody), how much memory that took, and what
``gateway usage`` reads afterwards, with the closing and without.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from gateway.ledger import segment
from gateway.ledger.follower import Follower, Tail
from gateway.ledger.leaf import encode
from gateway.ledger.record import Record
from gateway.ledger.tree import Tree
from gateway.observer.account import Account
from gateway.observer.closing import UsageFold
from gateway.observer.delivery import Delivery
from gateway.observer.folds import MetricsFold
from gateway.observer.followers import FoldFollower
from gateway.observer.metrics import Metrics
from gateway.observer.openmetrics import render
from gateway.observer.sampling import Policy, Sampler
from gateway.observer.spans import Span
from gateway.observer.telemetry import SpanMaker

RATE = 10_000


def leaf(seq: int) -> bytes:
    """A record like those of a busy day: 50 tenants, 20 models, one in ten denied, 10,000 a second."""
    denied = seq % 10 == 0
    return encode(
        Record(
            v=1,
            kind="call",
            shard="gw.0",
            seq=seq,
            t_us=1_790_000_000_000_000 + seq * 1_000_000 // RATE,
            dur_us=300 + seq * 7919 % 5000,
            tenant=f"tenant-{seq % 50}",
            principal=f"tenant-{seq % 50}/app-{seq % 7}",
            auth="api_key",
            method="inference.GRPCInferenceService/ModelInfer",
            action="model.infer:ModelInfer",
            model=f"model-{seq % 20}",
            version="3",
            model_sha="sha256:ab",
            batch_n=8,
            allow=not denied,
            effect="enforced",
            decision_id=f"{seq:016x}",
            reasons=("tenant_not_allowed",) if denied else (),
            policy_rev="r7",
            engine="embedded",
            cached=seq % 4 != 0,
            rows=2,
            in_b=512,
            out_b=64,
            status="PERMISSION_DENIED" if denied else "OK",
            outcome="denied" if denied else "answered",
            stage="enforce" if denied else "record",
            ph={"authenticate": 20, "decide": 60, "queue": 90, "infer": 250, "record": 290},
            trace=f"{seq * 0x9E3779B97F4A7C15 % 2**128 + 1:032x}",
            span=f"{seq + 1:016x}",
            flags="00",
        )
    )


def fill(root: Path, count: int) -> None:
    """A segment with ``count`` leaves."""
    directory = root / "gw.0"
    directory.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(segment.create(directory, "gw.0", 0, Tree().root()))) as db, db:
        db.executemany("INSERT INTO leaf VALUES (?, ?)", ((seq, leaf(seq)) for seq in range(count)))


def measure(root: Path, name: str, followers: Sequence[Follower], count: int) -> None:
    """Follow to the end and print."""
    tail = Tail(root, followers)
    start = time.process_time()
    while tail.step():
        pass
    spent = time.process_time() - start
    tail.close()
    per = spent / count * 1e6
    share = f"{per * RATE / 1e4:6.1f} % of a core at {RATE:,}/s"
    print(f"{name:28} {per:7.2f} us a record {count / spent:12,.0f} records/s {share}")


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=200_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        root, data = Path(folder) / "ledger", Path(folder)
        fill(root, count)
        print(f"{count:,} records, CPython {platform.python_version()}, {platform.machine()}, CPU time of one process")
        metrics = Metrics()
        counting = FoldFollower("metrics", MetricsFold(metrics), data / "m.db", clock_ns=time.monotonic_ns)
        usage = FoldFollower("usage", UsageFold(), data / "u.db", clock_ns=time.monotonic_ns)
        sampler = Sampler(Policy(per_second=200))
        maker = SpanMaker(sampler, lambda record: None)
        sent: list[int] = []

        def send(spans: Sequence[Span]) -> bool:
            sent.append(len(spans))
            return True

        traces = Delivery("traces", maker, send, data / "t.db", clock_us=lambda: 0)
        for follower in (counting, usage, traces):
            follower.open(lambda shard: count)
        before = resident()
        measure(root, "metrics", [counting], count)
        measure(root, "usage", [usage], count)
        measure(root, "traces, 200 kept a second", [traces], count)
        print(f"memory grew by {(resident() - before) / 1e6:.1f} MB meanwhile")
        usage.close()
        for name, closing in (("usage, from the closing", data / "u.db"), ("usage, every record", None)):
            start = time.process_time()
            check = Account(root, 0, 2**62, closing=closing).read()
            print(f"{name:28} {time.process_time() - start:7.3f} s  {check}")
        start = time.process_time()
        text = render(metrics.families())
        print(
            f"one scrape: {len(text):,} bytes in {(time.process_time() - start) * 1e3:.1f} ms; {sum(sent):,} spans made"
        )


if __name__ == "__main__":
    main()
