"""How the cost of a request grows with what it should not depend on: models, tenants, policy data, ledger, workers.

Each row is a gateway of its own in which one thing differs. Those of one dimension run side by side and are loaded in
turns, A B C, C B A, ..., as ``throughput.py`` does it; the ratio to the first is the median of each round's own. CPU a
request is the figure to read: on one core it is what throughput is made of, and it does not mind a busy machine as
much. Only workers are compared by throughput, for they are there to use more cores.

    python bench/scaling.py --dimensions models tenants --rounds 9
    python bench/scaling.py --dimensions ledger --records 10000000      # fills 14 GB in some minutes first
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from load import Shape, require_h2load
from machine import describe
from request import MODEL, digits
from rich.console import Console
from rich.table import Table
from servers import ROOT, Server, create_key, governed
from throughput import Bench, Sample

from gateway.ledger import leaf as leaves
from gateway.ledger import record
from gateway.ledger.ledger import Encode, Payload
from gateway.ledger.shard import ShardLedger

SHAPE = Shape(8, 16)
BATCH = 256


@dataclass(frozen=True, slots=True)
class Variant:
    """One row: a gateway's models, policies and data, as ``make`` left them."""

    dimension: str
    value: str
    models: Path
    policies: Path
    data: Path
    extra: tuple[str, ...] = ()
    pinned: bool = True


@dataclass(slots=True)
class Maker:
    """Makes variants in a scratch directory."""

    scratch: Path
    count: int = field(default=0)

    def variant(self, dimension: str, value: str, **changes: object) -> Variant:
        """A variant that differs from the plain gateway in ``changes`` only."""
        self.count += 1
        data = self.scratch / f"data-{self.count}"
        given: dict[str, object] = {"models": MODEL.parent, "policies": ROOT / "policies", "data": data} | changes
        return Variant(dimension, value, **given)  # type: ignore[arg-type]  # names are Variant's

    def policies(self, change: Callable[[dict[str, dict[str, object]]], None]) -> Path:
        """The shipped policies with ``change`` made to their data."""
        folder = self.scratch / f"policies-{self.count}"
        shutil.copytree(ROOT / "policies", folder)
        document = json.loads((folder / "data.json").read_text())
        change(document)
        (folder / "data.json").write_text(json.dumps(document))
        return folder


def models(maker: Maker) -> Iterator[Variant]:
    """More models beside the one that is asked."""
    for count in (1, 10, 100):
        repository = maker.scratch / f"models-{count}"
        shutil.copytree(MODEL, repository / "digits")
        for number in range(1, count):
            shutil.copytree(MODEL, repository / f"digits-{number:03d}")
        yield maker.variant("models", f"{count}", models=repository)


def tenants(maker: Maker) -> Iterator[Variant]:
    """More tenants in the policy's data."""
    for count in (1, 100, 10_000):

        def add(document: dict[str, dict[str, object]], count: int = count) -> None:
            for number in range(1, count):
                document["tenants"][f"tenant-{number:05d}"] = document["tenants"]["research"]

        yield maker.variant("tenants", f"{count:,}", policies=maker.policies(add))


def policy_data(maker: Maker) -> Iterator[Variant]:
    """More data that no rule reads."""
    for size in (10_000, 1_000_000):

        def add(document: dict[str, dict[str, object]], size: int = size) -> None:
            document["notes"] = {f"note-{number:06d}": "x" * 80 for number in range(size // 100)}

        yield maker.variant("policy data", f"{size // 1000:,} kB", policies=maker.policies(add))


def ledger(maker: Maker, most: int) -> Iterator[Variant]:
    """More records on disk."""
    for records in (0, most // 10, most):
        variant = maker.variant("ledger", f"{records:,} records")
        asyncio.run(fill(variant.data / "ledger", records))
        yield variant


async def fill(root: Path, records: int) -> None:
    """Append ``records`` calls to the shard of the first worker."""
    if not records:
        return
    shard = await ShardLedger.open(root, "gw.0", boot={}, clock_us=lambda: time.time_ns() // 1000)
    payload = Payload(salts=bytes(64), tenant="research")
    for _ in range(0, records, BATCH):
        await asyncio.gather(*[shard.append(_old_call(), payload) for _ in range(BATCH)])
    await shard.close()


def _old_call() -> Encode:
    def encode(shard: str, seq: int) -> bytes:
        made = record.Record(
            v=record.SCHEMA, kind="call", shard=shard, seq=seq, tenant="research", principal="bench",
            outcome="answered", status="OK", in_c="0" * 64, out_c="0" * 64, pol_c="0" * 64, trace="0" * 32,
        )  # fmt: skip
        return leaves.encode(made)

    return encode


def workers(maker: Maker) -> Iterator[Variant]:
    """More processes on one port; nothing is pinned, and h2load takes its share of the cores."""
    for count in range(1, min(os.cpu_count() or 1, 4) + 1):
        yield maker.variant("workers", f"{count}", extra=("--workers", str(count)), pinned=False)


def compare(variants: list[Variant], scratch: Path, *, rounds: int, seconds: float) -> list[list[Sample]]:
    """Start all ``variants``, load them in turns, stop them: the samples of each, a sample a round."""
    question = digits()
    body = question.write(scratch / "body")
    samples: list[list[Sample]] = [[] for _ in variants]
    with ExitStack() as running:
        ready: list[tuple[Server, Bench, str]] = []
        for variant in variants:
            key = create_key(variant.data)
            server = governed("h2", variant.data, models=variant.models, policies=variant.policies, extra=variant.extra)
            running.callback(server.stop)
            ready.append((server, Bench(question, body, seconds, pinned=variant.pinned), key))
        for turn in range(rounds):
            order = range(len(ready)) if turn % 2 == 0 else reversed(range(len(ready)))
            for index in order:
                server, bench, key = ready[index]
                samples[index].append(bench.measure(server, SHAPE, key))
    return samples


def add_rows(table: Table, variants: list[Variant], samples: list[list[Sample]]) -> None:
    """A dimension as rows: medians, and the ratio to the first variant as the median of each round's own."""
    for variant, rounds in zip(variants, samples, strict=True):
        pairs, unit = list(zip(rounds, samples[0], strict=True)), "CPU" if variant.pinned else "req/s"
        if variant.pinned:
            ratios = [own.cpu_us / first.cpu_us for own, first in pairs]
        else:
            ratios = [own.load.rate / first.load.rate for own, first in pairs]
        table.add_row(
            variant.dimension,
            variant.value,
            f"{statistics.median(sample.load.rate for sample in rounds):,.0f}",
            f"{statistics.median(sample.load.p99_us for sample in rounds):,.0f}",
            f"{statistics.median(sample.cpu_us for sample in rounds):.1f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) {unit}",
            f"{rounds[-1].rss_mb:,.0f}",
        )
    table.add_section()


def main() -> None:
    dimensions = ("models", "tenants", "policy-data", "ledger", "workers")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", nargs="*", choices=dimensions, default=dimensions)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--records", type=int, default=1_000_000, help="the largest ledger")
    options = parser.parse_args()
    require_h2load()
    console = Console(width=120)
    console.print(describe(), highlight=False)
    table = Table(f"dimension, {SHAPE}", "value", "req/s", "p99 us", "CPU us/req", "of the first", "RSS MB")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT)))
        maker = Maker(scratch)
        makers: dict[str, Iterator[Variant]] = {
            "models": models(maker),
            "tenants": tenants(maker),
            "policy-data": policy_data(maker),
            "ledger": ledger(maker, options.records),
            "workers": workers(maker),
        }
        for dimension in options.dimensions:
            variants = list(makers[dimension])
            add_rows(table, variants, compare(variants, scratch, rounds=options.rounds, seconds=options.seconds))
    console.print(table)


if __name__ == "__main__":
    main()
