"""Records as rows for people and other programs: flat, with the names that outsiders rely on."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from gateway.ledger import events, record
from gateway.ledger.reader import ShardReader, shards

Row: TypeAlias = dict[str, object]

_RENAMED = {
    "model_sha": "model_digest",
    "policy_rev": "policy_revision",
    "policy_sha": "policy_digest",
    "status": "code",
    "trace": "trace_id",
    "span": "span_id",
    "parent": "parent_span_id",
    "ph": "phases_us",
    "kind_p": "principal_kind",
    "rt": "runtime",
    "in_c": "input_commitment",
    "out_c": "output_commitment",
    "pol_c": "policy_input_commitment",
    "in_b": "input_bytes",
    "out_b": "output_bytes",
    "req": "request",
    "re": "related",
}
_FIRST = (
    "prediction_id",
    "time",
    "kind",
    "principal",
    "tenant",
    "action",
    "model",
    "version",
    "model_digest",
    "decision",
    "reasons",
    "policy_revision",
    "outcome",
    "code",
    "trace_id",
    "span_id",
)


def utc(t_us: int) -> str:
    """Wall-clock microseconds as RFC 3339 text in UTC; what no calendar holds, as the number it is."""
    try:
        moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=t_us)
    except OverflowError:
        return f"{t_us} us"
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def is_call(leaf: bytes) -> bool:
    """True for the record of a call. Cheap: ``kind`` is the second key of every leaf."""
    return b'"kind":"call"' in leaf[:32]


def row(leaf: bytes) -> Row:
    """A leaf as a row: all fields, absent ones as their defaults, outsiders' names first.

    Raises: LedgerCorrupt.
    """
    return _call(record.decode(leaf)) if is_call(leaf) else _event(events.decode(leaf))


def _call(item: record.Record) -> Row:
    plain = {_RENAMED.get(name, name): value for name, value in msgspec.structs.asdict(item).items()}
    plain["prediction_id"] = item.prediction_id
    plain["time"] = utc(item.t_us)
    plain["decision"] = ("allow" if item.allow else "deny") if item.decision_id else "none"
    return {name: plain.pop(name) for name in _FIRST} | plain


def _event(item: events.Event) -> Row:
    plain: Row = {"prediction_id": f"{item.shard}/{item.seq}", "time": utc(item.t_us)}
    return plain | msgspec.structs.asdict(item)


def leaves(root: Path, shard: str, first: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The leaves of one shard, in order, as they are stored. Raises: LedgerCorrupt."""
    reader = ShardReader(root, shard)
    try:
        stop = reader.size() if end is None else min(end, reader.size())
        while first < stop:
            batch = reader.read(first, min(4_096, stop - first))
            if not batch:
                return
            yield from (leaf for _, leaf in batch)
            first = batch[-1][0] + 1
    finally:
        reader.close()


def rows(
    root: Path, *, only: str = "", since_us: int = 0, until_us: int = 1 << 62, all_kinds: bool = False
) -> Iterator[Row]:
    """Rows of all shards (or of ``only``), shard by shard. Times bound ``t_us``."""
    for shard in [only] if only else shards(root):
        for leaf in leaves(root, shard):
            if not all_kinds and not is_call(leaf):
                continue
            item = row(leaf)
            t_us = item["t_us"]
            if isinstance(t_us, int) and since_us <= t_us < until_us:
                yield item


def jsonl(item: Row) -> bytes:
    """One row as one line of JSON."""
    return msgspec.json.encode(item) + b"\n"
