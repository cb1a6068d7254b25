"""Shared pieces of the ledger's tests: a clock that only moves forward, calls, and shards on disk."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.ledger import leaf as leaves
from gateway.ledger import record
from gateway.ledger.ledger import Encode
from gateway.ledger.record import Record
from gateway.ledger.shard import ShardLedger

START_US = 1_795_000_000_000_000
_ticks = itertools.count(START_US, 1_000)


def clock_us() -> int:
    """Wall clock of the tests: 1 ms a look."""
    return next(_ticks)


def a_call(**fields: object) -> Encode:
    """The record of a call, ready to append."""
    given = {"kind": "call", "t_us": clock_us(), "tenant": "acme", "principal": "app", "outcome": "answered"} | fields

    def encode(shard: str, seq: int) -> bytes:
        return leaves.encode(Record(v=record.SCHEMA, shard=shard, seq=seq, **given))  # type: ignore[arg-type]

    return encode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger"


Open = Callable[..., Awaitable[ShardLedger]]


@pytest.fixture
async def open_shard(root: Path) -> AsyncIterator[Open]:
    """Opens shards below ``root`` and closes what the test left open."""
    opened: list[ShardLedger] = []

    async def open_one(shard: str = "gw.0", **options: object) -> ShardLedger:
        settings: dict[str, object] = {"boot": {"version": "test"}, "clock_us": clock_us, "beat_s": 3600.0} | options
        ledger = await ShardLedger.open(root, shard, **settings)  # type: ignore[arg-type]
        opened.append(ledger)
        return ledger

    yield open_one
    for ledger in opened:
        await ledger.close()


async def fill(ledger: ShardLedger, count: int, **fields: object) -> None:
    """Append ``count`` calls and wait until they are durable."""
    for start in range(0, count, 1000):
        futures = [ledger.append(a_call(boot=ledger.boot, **fields)) for _ in range(start, min(count, start + 1000))]
        for future in futures:
            await future
