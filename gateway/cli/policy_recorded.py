"""Recorded decisions with the policy input kept for them, read from a data directory for replay and explain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.cli.ledger_options import locate
from gateway.ledger.errors import NoSuchRecord
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record, decode
from gateway.ledger.vault import Vault
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
    root, shard, seq = locate(data, what)
    reader = ShardReader(root, shard)
    return decode(reader.leaf(seq)), reader


def _vault(data: Path) -> Vault:
    return Vault(FileKeys(data / "keys" / "payload"))
