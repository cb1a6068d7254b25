"""Records by what is in them rather than by their place: the whole ledger is looked through, newest finding last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gateway.ledger import events
from gateway.ledger.errors import NoSuchRecord
from gateway.ledger.events import Event
from gateway.ledger.pruned import spans
from gateway.ledger.reader import ShardReader, shards


def by_decision(root: Path, decision_id: str) -> tuple[str, int]:
    """Shard and number of the record with a decision id. Raises: NoSuchRecord, LedgerCorrupt."""
    mark = f'"decision_id":"{decision_id}"'.encode()
    for shard in shards(root):
        for seq, _ in _with(root, shard, mark):
            return shard, seq
    raise NoSuchRecord(f"no record under {root} has the decision id {decision_id}")


def by_text(root: Path, shard: str, text: str) -> int:
    """The number of the first record of a shard that has ``text`` in it. Raises: NoSuchRecord, LedgerCorrupt."""
    for seq, _ in _with(root, shard, text.encode()):
        return seq
    raise NoSuchRecord(f"no record of {shard!r} under {root} has {text!r} in it")


def erasure_of(root: Path, shard: str, seq: int) -> Event | None:
    """The event by which what was kept of a record went, by erasure or expiry; None when no event says so.

    Raises: LedgerCorrupt.
    """
    found = None
    for _, leaf in _with(root, shard, b'"kind":"erase"', seq):
        event = events.decode(leaf)
        told = spans(event.fields.get("records")) if event.fields.get("what") == "payload" else []
        if event.kind == "erase" and any(seq in span for span in told):
            found = event
    return found


def _with(root: Path, shard: str, mark: bytes, seq: int = 0) -> Iterator[tuple[int, bytes]]:
    with closing(ShardReader(root, shard)) as reader:
        while leaves := reader.read(seq):
            yield from ((number, leaf) for number, leaf in leaves if mark in leaf)
            seq = leaves[-1][0] + 1
