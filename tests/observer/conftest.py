"""Records made by hand, a ledger in memory, and a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.ledger.record import Record, encode
from gateway.observer.tail import Tail

START_US = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z

MakeRecord = Callable[..., Record]


class MemoryShards:
    """Shards as lists of leaves, with the readers' behaviour."""

    def __init__(self) -> None:
        self.leaves: dict[str, list[tuple[int, bytes]]] = {}
        self.fail: Exception | None = None

    def add(self, *records: Record) -> None:
        for record in records:
            self.leaves.setdefault(record.shard, []).append((record.seq, encode(record)))

    def tail(self) -> Tail:
        return Tail(lambda: list(self.leaves), lambda shard: _Reader(self, shard))


class _Reader:
    def __init__(self, shards: MemoryShards, shard: str) -> None:
        self._shards, self._shard = shards, shard

    def read(self, first_seq: int, limit: int) -> list[tuple[int, bytes]]:
        if self._shards.fail is not None:
            raise self._shards.fail
        return [leaf for leaf in self._shards.leaves[self._shard] if leaf[0] >= first_seq][:limit]

    def size(self) -> int:
        if self._shards.fail is not None:
            raise self._shards.fail
        leaves = self._shards.leaves[self._shard]
        return leaves[-1][0] + 1 if leaves else 0


class Clock:
    """Microseconds that move only when told."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us


def make_record(seq: int = 0, **changes: object) -> Record:
    """An answered prediction of acme's app on credit:3, unless changed."""
    fields: dict[str, object] = {
        "v": 1,
        "kind": "call",
        "shard": "gw.0",
        "seq": seq,
        "t_us": START_US + seq * 1000,
        "dur_us": 1200,
        "tenant": "acme",
        "principal": "acme/app",
        "kind_p": "service",
        "auth": "api_key",
        "method": "inference.GRPCInferenceService/ModelInfer",
        "action": "model.infer:ModelInfer",
        "asked": "credit",
        "model": "credit",
        "version": "3",
        "model_sha": "sha256:ab",
        "batch_n": 2,
        "allow": True,
        "effect": "enforced",
        "decision_id": "d1",
        "policy_rev": "r7",
        "engine": "embedded",
        "rows": 2,
        "in_b": 128,
        "out_b": 32,
        "status": "OK",
        "outcome": "answered",
        "stage": "record",
        "ph": {"authenticate": 50, "decide": 150, "queue": 200, "infer": 1100, "record": 1200},
        "trace": f"{seq + 1:032x}",
        "span": f"{seq + 1:016x}",
        "flags": "00",
    }
    return Record(**(fields | changes))  # type: ignore[arg-type]  # a dict of fields is what a test changes


DENIED: dict[str, object] = {
    "allow": False,
    "reasons": ("tenant_not_allowed",),
    "status": "PERMISSION_DENIED",
    "outcome": "denied",
    "stage": "enforce",
    "error": "permission_denied",
    "batch_n": 0,
    "rows": 2,
    "out_b": 0,
    "ph": {"authenticate": 50, "decide": 150, "record": 200},
    "dur_us": 200,
}
"""The changes that make a record a denial."""


@pytest.fixture
def record() -> MakeRecord:
    return make_record


@pytest.fixture
def denied() -> dict[str, object]:
    return dict(DENIED)


@pytest.fixture
def shards() -> MemoryShards:
    return MemoryShards()


@pytest.fixture
def clock() -> Clock:
    return Clock()
