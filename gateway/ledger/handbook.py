"""The text that goes with a package for an authority: what is in it, how to check it, what it does not show."""

from __future__ import annotations

from collections.abc import Mapping

_TEXT = """# Records of an inference gateway

Made {made}, for: {reason}.
Selected: {selection}. {count} records; {proofs} of them with a proof each.

## What is in this package

| file | what it is |
|---|---|
| `records.jsonl`, `records.csv`{parquet} | the records, one row a call; times in UTC, and microseconds since 1970 |
| `leaves.jsonl` | the same records, byte for byte as they were hashed |
| `schema.json` | the fields of a record (JSON Schema); an absent field has its default |
| `proofs/*.tlog-proof` | that a record is in the log, under its signed head (c2sp.org/tlog-proof) |
| `heads/*` | the newest signed head of each log, with the cosignatures of witnesses, if there are any |
| `keyring-ledger`, `keyring-governance` | public keys, and the tree sizes that each may sign |
| `governance.jsonl` | what was changed by whom: models, policies, keys, holds, erasures, exports |
| `verification.json` | what our own verification of the whole ledger said when this was made |
| `verify_ledger.py` | a verifier of one file, 200 lines; it needs Python 3.11 and the package `cryptography` |
| `SHA256SUMS` | digests of all files above |
| `export.tlog-proof` | the log's own record of this export: its `sums` is the SHA-256 of `SHA256SUMS` |

## How to check it

    python3 -m pip install cryptography
    sha256sum --check SHA256SUMS
    sha256sum SHA256SUMS                    # is "sums" in what the next line prints
    python3 verify_ledger.py --proof export.tlog-proof --keyring keyring-governance
    python3 verify_ledger.py --proof proofs/*.tlog-proof --keyring keyring-ledger

Compare the keyrings with copies that came another way: keys that come with the evidence prove that it is consistent,
not whose it is. Each record of `leaves.jsonl` can be proved on demand (`gateway ledger prove ID`); ask for any.

## What a record says

Each call to the gateway has one record, also where it was denied, failed or cancelled: who called (a pseudonymous id),
which model by version and digest, which policy revision decided what and why, salted commitments to inputs and outputs,
sizes, the outcome, and how long each phase took. It holds no inputs or outputs; where their contents were kept, they
can be disclosed and held against the commitments. `outcome` is one of answered, denied, unauthenticated, refused,
failed, cancelled, expired. `seq` has no gaps within a shard; a gap here is a record that was not selected.

## What it does not show

Calls that were under way when a process of the gateway died: they have no record, and the `recover` record of its
successor says how many they were (`unanswered`). Calls that did not go through the gateway; that a record, true to its
log, is true to the world; records newer than the heads. Contents may have been erased since, which `governance.jsonl`
says.
"""


def text(facts: Mapping[str, object]) -> str:
    """The handbook with ``made``, ``reason``, ``selection``, ``count``, ``proofs`` and ``parquet`` filled in."""
    return _TEXT.format_map(dict(facts))
