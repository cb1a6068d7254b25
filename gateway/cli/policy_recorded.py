"""Recorded decisions with the policy input kept for them, read from a data directory for replay and explain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gateway.cli.ledger_options import locate
from gateway.ledger.errors import KeyMissing, NoSuchRecord
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record, decode
from gateway.ledger.vault import FileKeys, Vault
from gateway.pipeline.payload import decode_payload
from gateway.policy.replay import Kept

NOT_RECORDED = "input not recorded"
NOT_RECORDED_BY_POLICY = "input not recorded: the obligation was log none"
ERASED = "input erased or expired"
REPEATS = "input not found: it repeats a decision that is not in its shard"


def recorded(data: Path) -> Iterator[tuple[Record, Kept]]:
    """Every call of a data directory with the policy input kept for it, or why there is none, shard by shard.

    A call that was decided from the cache has the input of the decision that it repeats.

    Raises: LedgerError when a segment cannot be read.
    """
    root, vault = data / "ledger", _vault(data)
    for shard in shards(root):
        reader = ShardReader(root, shard)
        origins: dict[str, Kept] = {}
        seq = 0
        while leaves := reader.read(seq):
            for _, leaf in leaves:
                record = decode(leaf)
                if record.kind == "call" and record.cached:
                    yield record, origins.get(record.cached_from, REPEATS)
                elif record.kind == "call":
                    kept = _kept(reader, vault, record)
                    if record.allow:  # only allows are repeated
                        origins[record.decision_id] = kept
                    yield record, kept
            seq = leaves[-1][0] + 1


def recorded_one(data: Path, what: str) -> tuple[Record, Kept]:
    """The same for one call, by its prediction id or its decision id. Raises: LedgerError."""
    record, reader = _record(data, what)
    if not record.cached:
        return record, _kept(reader, _vault(data), record)
    try:
        origin, reader = _record(data, record.cached_from)
    except NoSuchRecord:
        return record, REPEATS
    return record, _kept(reader, _vault(data), origin)


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


def _kept(reader: ShardReader, vault: Vault, record: Record) -> Kept:
    """The policy input in a record's payload, or why there is none."""
    if not record.pol_c:  # the commitment tells what never was from what is gone
        return NOT_RECORDED_BY_POLICY if record.payload == "none" else NOT_RECORDED
    sealed = reader.payload(record.seq)
    if sealed is None:
        return ERASED
    try:
        _, body = vault.open(sealed, record.prediction_id, record.tenant)
    except KeyMissing:  # the key was destroyed: that is how payloads are erased
        return ERASED
    return (decode_payload(body).policy if body else b"") or NOT_RECORDED
