"""Ending a signing key: only when every shard has two anchored heads that carry old and new signature."""

from __future__ import annotations

from pathlib import Path

from gateway.ledger import heads
from gateway.ledger.errors import LedgerError
from gateway.ledger.logkeys import Keyring, LogKeys
from gateway.ledger.note import lines_of
from gateway.ledger.reader import shards
from gateway.ledger.signature import verifier_key

OVERLAP = 2


def retire_key(root: Path, keyring: Keyring, keys: LogKeys, kind: str = "ed25519") -> None:
    """Bound what the oldest of two keys is believed for, in every shard under ``root``.

    Raises: LedgerError when there is no second key, or the two have not signed together often enough.
    """
    privates = keys.load(kind)
    if len(privates) < 2:
        raise LedgerError(f"{keys.directory} holds {len(privates)} {kind} keys: make the next one first")
    bounds = []
    for shard in shards(root):
        for origin in {entry.key.name for entry in keyring.entries() if entry.key.name.rpartition("/")[2] == shard}:
            old, new = (verifier_key(origin, private) for private in privates[:2])
            both = [s.head.size for s in heads.anchored(root / shard) if len(set(lines_of(s.signed, [old, new]))) == 2]
            if len(both) < OVERLAP:
                raise LedgerError(f"shard {shard!r}: {len(both)} anchored heads carry both keys, {OVERLAP} are needed")
            bounds.append((old, max(both)))
    for old, last in bounds:
        keyring.retire(old, last)
