"""What the observer costs a record, as a multiple of decoding it, and that its memory does not grow with records.

``bench/observer.py`` prints the figures of a machine; these ratios hold on any.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from observer.conftest import START_US, make_record

from gateway.ledger.leaf import encode
from gateway.ledger.record import decode
from gateway.observer.closing import UsageFold
from gateway.observer.delivery import Delivery
from gateway.observer.folds import MetricsFold
from gateway.observer.followers import FoldFollower
from gateway.observer.metrics import Metrics
from gateway.observer.sampling import Policy, Sampler
from gateway.observer.spans import Span
from gateway.observer.telemetry import SpanMaker

PER_S = 10_000
BATCH = 1000


def leaves(first: int, count: int) -> list[tuple[int, bytes]]:
    """A busy second after another: 50 tenants, 20 models, one call in ten denied."""
    return [
        (
            seq,
            encode(
                make_record(
                    seq,
                    t_us=START_US + seq * 1_000_000 // PER_S,
                    tenant=f"t{seq % 50}",
                    model=f"m{seq % 20}",
                    outcome="answered" if seq % 10 else "denied",
                    dur_us=300 + seq * 7919 % 5000,
                )
            ),
        )
        for seq in range(first, first + count)
    ]


class Everything:
    """The followers of an observer that samples traces, in front of a receiver that takes all."""

    def __init__(self, folder: Path) -> None:
        self.sent = 0
        clock_ns = time.monotonic_ns
        maker = SpanMaker(Sampler(Policy(per_second=200)), lambda record: None)
        self.followers = (
            FoldFollower("metrics", MetricsFold(Metrics()), folder / "m.db", clock_ns=clock_ns),
            FoldFollower("usage", UsageFold(), folder / "u.db", clock_ns=clock_ns),
            Delivery("traces", maker, self._send, folder / "t.db", clock_us=lambda: START_US),
        )
        for follower in self.followers:
            follower.open(lambda shard: 0)

    def _send(self, spans: Sequence[Span]) -> bool:
        self.sent += len(spans)
        return True

    def follow(self, batch: Sequence[tuple[int, bytes]]) -> None:
        for follower in self.followers:
            follower.apply("gw.0", batch)

    def close(self) -> None:
        for follower in self.followers:
            follower.close()


@pytest.fixture
def everything(tmp_path: Path):
    made = Everything(tmp_path)
    yield made
    made.close()


def test_a_record_costs_no_more_than_twenty_times_its_decoding(everything: Everything) -> None:
    best = 1e9
    for first in range(0, 5 * BATCH, BATCH):
        batch = leaves(first, BATCH)
        begun = time.process_time()
        for _, leaf in batch:
            decode(leaf)
        decoded = time.process_time() - begun
        begun = time.process_time()
        everything.follow(batch)
        best = min(best, (time.process_time() - begun) / decoded)
    assert everything.sent > 100
    assert best < 20, f"{best:.1f} times the decoding"


def test_memory_does_not_grow_with_records(everything: Everything) -> None:
    for first in range(0, 10 * BATCH, BATCH):
        everything.follow(leaves(first, BATCH))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for first in range(10 * BATCH, 20 * BATCH, BATCH):
            everything.follow(leaves(first, BATCH))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 500_000, f"{grown} bytes for {10 * BATCH} records"
