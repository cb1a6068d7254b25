"""Records made by hand, shards on disk that hold them, and a clock that the test turns."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gateway.ledger import segment
from gateway.ledger.leaf import encode
from gateway.ledger.record import Record
from gateway.ledger.tree import Tree

TOOLS = Path(__file__).parents[2] / ".tools" / "bin"
START_US = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z

MakeRecord = Callable[..., Record]


class Shards:
    """Segments on disk as the ledger's reader finds them, filled by hand: one shard's leaves may be anything."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, *records: Record) -> None:
        by_shard: dict[str, list[tuple[int, bytes]]] = {}
        for each in records:
            by_shard.setdefault(each.shard, []).append((each.seq, encode(each)))
        for shard, leaves in by_shard.items():
            self.add_leaves(shard, leaves)

    def add_leaves(self, shard: str, leaves: Iterable[tuple[int, bytes]]) -> None:
        with contextlib.closing(self._segment(shard)) as db, db:
            db.executemany("INSERT INTO leaf VALUES (?, ?)", leaves)

    def cut(self, shard: str, size: int) -> None:
        with contextlib.closing(self._segment(shard)) as db, db:
            db.execute("DELETE FROM leaf WHERE seq >= ?", (size,))

    def _segment(self, shard: str) -> sqlite3.Connection:
        directory = self.root / shard
        path = next(iter(segment.files(directory)), None)
        if path is None:
            directory.mkdir(parents=True)
            path = segment.create(directory, shard, 0, Tree().root())
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode=WAL")
        return db


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
def shards(tmp_path: Path) -> Shards:
    return Shards(tmp_path / "data" / "ledger")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tool() -> Callable[[str, str], str]:
    """Path of an external program; without it the test is skipped, but in CI it fails."""

    def find(name: str, how: str) -> str:
        path = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
        if path is None:
            text = f"{name} is not installed: {how}"
            pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
        return str(path)

    return find
