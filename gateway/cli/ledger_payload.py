"""``gateway ledger payload``: what was kept of a call, decrypted and held against the record's commitments."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ledger_options import DEFAULT, Data, Id, locate, plain_errors
from gateway.ledger import export, find, record
from gateway.ledger.commitment import SALT_BYTES, commit, commit_bytes
from gateway.ledger.errors import LedgerCorrupt, LedgerError
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record
from gateway.ledger.vault import Vault
from gateway.ledger.verdict import Finding, Verdict
from gateway.ledger.verify import PREDICTIONS
from gateway.malformed import MALFORMED
from gateway.pipeline.payload import KeptPayload, KeptTensor, decode_payload
from gateway.types import Tensor


def payload(
    prediction_id: Id,
    data: Data = DEFAULT,
    check: Annotated[bool, typer.Option("--check", help="Say only whether it fits the record.")] = False,
) -> None:
    """Print what was kept of one call, if it was kept and not erased. It may be personal data: mind where it goes.

    Example: gateway ledger payload gw.0/42 --data ./data
    """
    with plain_errors():
        root, shard, seq = locate(data, prediction_id)
        reader, vault = ShardReader(root, shard), Vault(FileKeys(data / "keys" / "payload"))
        try:
            item = record.decode(reader.leaf(seq))
            kept = opened(reader, vault, item)
            if kept is None:
                what = fate(root, reader, seq, reader.leaf(seq)) or "its mode is 'none'"
                raise LedgerError(f"nothing is kept of {prediction_id}: {what}")
        finally:
            reader.close()
            vault.close()
        wrong = differing(item, *kept)
        if wrong:
            raise LedgerCorrupt(f"what is kept of {prediction_id} is not what the record committed to: {wrong}")
    if check:
        typer.echo(f"OK: what is kept of {prediction_id} is what the record committed to")
        return
    body = kept[1]
    shown = {
        "prediction_id": prediction_id,
        "payload": item.payload,
        "inputs": [_shown(tensor) for tensor in body.inputs],
        "outputs": [_shown(tensor) for tensor in body.outputs],
        "policy": json.loads(body.policy) if body.policy else None,
    }
    typer.echo(json.dumps(shown, indent=2))


def fate(root: Path, reader: ShardReader, seq: int, leaf: bytes) -> str:
    """What became of the contents kept of a call; "" for what never kept any. Raises: LedgerCorrupt."""
    if not export.is_call(leaf) or record.decode(leaf).payload in ("", "none"):
        return ""
    if reader.payload(seq) is not None:
        return "kept"
    event = find.erasure_of(root, reader.shard, seq)
    if event is None:
        return "gone, and no event says why"
    if (event.actor, event.reason) == ("gateway", "retention"):
        return f"expired on {export.utc(event.t_us)}, recorded as {event.shard}/{event.seq}"
    return f"erased on {export.utc(event.t_us)} by {event.actor}: {event.reason}, recorded as {event.shard}/{event.seq}"


def opened(reader: ShardReader, vault: Vault, item: Record) -> tuple[bytes, KeptPayload] | None:
    """Salts and contents of a record's payload; None when there is none. Raises: LedgerError."""
    sealed = reader.payload(item.seq)
    if sealed is None:
        return None
    salts, body = vault.open(sealed, item.prediction_id, item.tenant)
    try:
        return salts, decode_payload(body) if body else KeptPayload()
    except MALFORMED as error:
        raise LedgerCorrupt(f"the payload of {item.prediction_id} is none that we know ({error})") from error


def differing(item: Record, salts: bytes, kept: KeptPayload) -> str:
    """Which commitments do not fit; "" when all that can be checked do."""
    salt_in, salt_out = salts[:SALT_BYTES], salts[SALT_BYTES : 2 * SALT_BYTES]
    pairs = []
    if item.payload == "full" and item.in_c:
        pairs.append(("inputs", item.in_c, commit("in", salt_in, _tensors(kept.inputs))))
    if item.payload == "full" and item.out_c:
        pairs.append(("outputs", item.out_c, commit("out", salt_out, _tensors(kept.outputs))))
    if item.pol_c and kept.policy:
        pairs.append(("policy input", item.pol_c, commit_bytes("pol", salt_in, kept.policy)))
    return ", ".join(name for name, recorded, computed in pairs if recorded != computed)


def check_payloads(data: Path) -> tuple[int, list[Finding]]:
    """Open every payload under ``data``; how many there are, and what does not fit."""
    vault, found, count = Vault(FileKeys(data / "keys" / "payload")), [], 0
    for shard in shards(data / PREDICTIONS):
        reader = ShardReader(data / PREDICTIONS, shard)
        try:
            for leaf in export.leaves(data / PREDICTIONS, shard):
                if not export.is_call(leaf):
                    continue
                try:
                    item = record.decode(leaf)
                except LedgerCorrupt:
                    continue  # nothing says what was kept; the records are verified before
                try:
                    kept = opened(reader, vault, item) if item.payload else None
                    wrong = differing(item, *kept) if kept else ""
                except LedgerCorrupt as error:
                    kept, wrong = None, str(error)
                count += kept is not None
                if wrong:
                    text = f"the payload is not what was committed to: {wrong}"
                    found.append(Finding(Verdict.EDITED, shard, text, item.seq))
        finally:
            reader.close()
    return count, found


def _tensors(kept: tuple[KeptTensor, ...]) -> list[Tensor]:
    return [Tensor(name=t.name, datatype=t.datatype, shape=t.shape, data=t.data) for t in kept]


def _shown(tensor: KeptTensor) -> dict[str, object]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
        "data_base64": base64.b64encode(tensor.data).decode(),
    }
