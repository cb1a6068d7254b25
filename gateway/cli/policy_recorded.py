"""Recorded decisions with the policy input kept for them, read from a data directory for replay and explain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gateway.cli.ledger_options import locate
from gateway.ledger.errors import NoSuchRecord
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record, decode
from gateway.ledger.vault import FileKeys, Vault
from gateway.pipeline.kept import REPEATS, Kept, KeptInputs


def recorded(data: Path) -> Iterator[tuple[Record, Kept]]:
    """Every call of a data directory with the policy input kept for it, or why there is none, shard by shard.

    Raises: LedgerError when a segment cannot be read.
    """
    root, vault = data / "ledger", _vault(data)
    for shard in shards(root):
        reader = ShardReader(root, shard)
        inputs = KeptInputs(reader, vault)
        seq = 0
        while leaves := reader.read(seq):
            for _, leaf in leaves:
                record = decode(leaf)
                if record.kind == "call":
                    yield record, inputs.of(record)
            seq = leaves[-1][0] + 1


def recorded_one(data: Path, what: str) -> tuple[Record, Kept]:
    """The same for one call, by its prediction id or its decision id. Raises: LedgerError."""
    record, reader = _record(data, what)
    if not record.cached:
        return record, KeptInputs(reader, _vault(data)).own(record)
    try:
        origin, reader = _record(data, record.cached_from)
    except NoSuchRecord:
        return record, REPEATS
    return record, KeptInputs(reader, _vault(data)).own(origin)


def _record(data: Path, what: str) -> tuple[Record, ShardReader]:
    root, shard, seq = _find(data, what)
    reader = ShardReader(root, shard)
    return decode(reader.leaf(seq)), reader


def _find(data: Path, what: str) -> tuple[Path, str, int]:
    """Root, shard and number of a prediction id, or of a decision id, for which the whole ledger is looked through.

    Raises: NoSuchRecord, LedgerCorrupt.
    """
    if re.fullmatch(r"[0-9a-f]{32}", what) is None:
        return locate(data, what)
    root, mark = data / "ledger", f'"decision_id":"{what}"'.encode()
    for shard in shards(root):
        with closing(ShardReader(root, shard)) as reader:
            seq = 0
            while leaves := reader.read(seq):
                found = next((number for number, leaf in leaves if mark in leaf), None)
                if found is not None:
                    return root, shard, found
                seq = leaves[-1][0] + 1
    raise NoSuchRecord(f"no record under {data} has the decision id {what}")


def _vault(data: Path) -> Vault:
    return Vault(FileKeys(data / "keys" / "payload"))
