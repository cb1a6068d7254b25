"""A process that appends as fast as it can and prints what it was promised: the victim of the crash tests.

    python storm.py ROOT SHARD PRODUCERS

A line ``<seq> <leaf hash>`` goes out only after the receipt; ``!`` marks a refusal. STORM_SYNCHRONOUS=1 weakens
SQLite on purpose: the control that shows that a power loss test can fail. STORM_QUICK_NS says up to which time of a
commit the loop makes it itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from gateway.errors import LedgerUnavailable
from gateway.ledger import leaf as leaves
from gateway.ledger import segment
from gateway.ledger.errors import LedgerError
from gateway.ledger.record import Record
from gateway.ledger.shard import ShardLedger
from gateway.ledger.short_way import QUICK_NS


def clock_us() -> int:
    return time.time_ns() // 1000


async def storm(root: Path, shard: str, producers: int) -> None:
    quick_ns = int(os.environ.get("STORM_QUICK_NS", QUICK_NS))
    ledger = await ShardLedger.open(
        root, shard, boot={"by": "storm"}, clock_us=clock_us, segment_leaves=20_000, quick_ns=quick_ns
    )

    def encode(name: str, seq: int) -> bytes:
        return leaves.encode(
            Record(
                v=1, kind="call", shard=name, seq=seq, boot=ledger.boot, t_us=clock_us(), model="m" * 200, tenant="acme"
            )
        )

    async def produce() -> None:
        while not ledger.broken.done():
            try:
                receipt = await ledger.append(encode)
                os.write(1, f"{receipt.seq} {receipt.leaf_hash.hex()}\n".encode())
            except LedgerUnavailable:
                os.write(1, b"!\n")
                await asyncio.sleep(0.01)

    await asyncio.gather(*[produce() for _ in range(producers)])
    raise SystemExit(3)


def main() -> None:
    sys.setswitchinterval(0.0005)
    if weaker := os.environ.get("STORM_SYNCHRONOUS"):
        segment._FIXED["synchronous"] = int(weaker)
    try:
        asyncio.run(storm(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    except LedgerError as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
