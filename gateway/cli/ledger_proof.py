"""``gateway ledger verify | prove | consistency | sign``: evidence, for those who do not take our word."""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import ledger_print
from gateway.cli.ledger_options import DEFAULT, Data, Id, Json, locate, must_be_there, plain_errors
from gateway.cli.ledger_payload import check_payloads
from gateway.cli.ledger_signing import sign_if_idle
from gateway.ledger import proof
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.logkeys import Keyring, LogKeys
from gateway.ledger.notary import KEYRING, Notary
from gateway.ledger.note import BadSignature
from gateway.ledger.proof import BadProof
from gateway.ledger.publish import publish
from gateway.ledger.verify import PREDICTIONS, ledgers, total, verify_data


def verify_command(
    data: Data = DEFAULT,
    shard: Annotated[list[str] | None, typer.Option(help="Only this shard; may be repeated.")] = None,
    outside: Annotated[
        list[Path] | None, typer.Option("--from", metavar="FILE", help="A signed head kept elsewhere; may be repeated.")
    ] = None,
    keyring: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Public keys kept elsewhere, instead of those beside the ledger."),
    ] = None,
    clock_tolerance_s: Annotated[float, typer.Option(help="How far the clock may have run back.")] = 60.0,
    proof_file: Annotated[
        Path | None, typer.Option("--proof", metavar="FILE", help="Check one record's proof instead of a ledger.")
    ] = None,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Decrypt what was kept, and hold it against the records.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that every record is there, unchanged and in order. Exit 0: all holds; 1: it does not; 2: cannot check.

    Example: gateway ledger verify --data ./data
    Example: gateway ledger verify --proof x.tlog-proof --keyring keys-that-i-kept
    """
    if proof_file is not None:
        _verify_proof(proof_file, keyring or data / PREDICTIONS / KEYRING, as_json)
        return
    with plain_errors():
        if keyring is not None:
            must_be_there(keyring)
        count = sum(total(root) for root in ledgers(data))
        with ledger_print.progress(count, quiet=as_json) as advance:
            report = verify_data(
                data,
                keyring=keyring,
                outside=outside or (),
                only=shard or (),
                clock_tolerance_us=int(clock_tolerance_s * 1e6),
                progress=advance,
            )
        if payloads:
            count, wrong = check_payloads(data)
            report.findings += wrong
            typer.echo(f"{count:,} payloads opened", err=True)
    ledger_print.report(report, as_json=as_json)
    raise typer.Exit(report.exit_status)


def _verify_proof(path: Path, keyring: Path, as_json: bool) -> None:
    with plain_errors():
        ring = Keyring(must_be_there(keyring))
        found = proof.parse(path.read_bytes())
        head = Checkpoint.parse(found.signed.text)
        try:
            signers = proof.check(found, ring.for_head(head.origin, head.size))
        except (BadProof, BadSignature) as error:
            typer.echo(f"NOT OK: {error}")
            raise typer.Exit(1) from error
    ledger_print.proven(found, head, signers, as_json=as_json)


def prove(
    prediction_id: Id,
    data: Data = DEFAULT,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Write a proof that a record is in the log; anybody can check it offline with the public key.

    Example: gateway ledger prove gw.0/42 --data ./data > 42.tlog-proof
    """
    with plain_errors():
        root, shard, seq = locate(data, prediction_id)
        sign_if_idle(data, root)
        text = str(proof.prove(root, shard, seq))
        if out is not None:
            out.write_text(text, "utf-8")
            typer.echo(f"{out}: {prediction_id}; check it with: gateway ledger verify --proof {out}", err=True)
            return
    sys.stdout.write(text)


def consistency(
    shard: Annotated[str, typer.Argument(help="Such as gw.0.")],
    old: Annotated[int, typer.Argument(help="Size of the older tree.")],
    new: Annotated[int, typer.Argument(help="Size of the newer tree.")],
    data: Data = DEFAULT,
) -> None:
    """Write the proof that the tree of NEW records extends that of OLD: base64 hashes, one a line.

    Example: gateway ledger consistency gw.0 1000 2000 --data ./data
    """
    with plain_errors():
        root, _, _ = locate(data, f"{shard}/0")
        for item in proof.consistency(root, shard, old, new):
            typer.echo(base64.b64encode(item).decode())


def sign(data: Data = DEFAULT) -> None:
    """Sign the heads of all shards now; the running gateway does so by itself each second.

    Example: gateway ledger sign --data ./data
    """
    with plain_errors():
        for root in ledgers(data):
            notary = Notary(root, LogKeys(data / "keys" / "log"), clock_us=lambda: time.time_ns() // 1000)
            notary.open()
            try:
                for shard, head in notary.catch_up().items():
                    typer.echo(f"{shard}: {head.size} records, root {head.root.hex()}")
                notary.anchor()
                if notary.alarms:
                    raise LedgerError("; ".join(notary.alarms.values()))
            finally:
                notary.close()


def publish_command(
    shard: Annotated[str, typer.Argument(help="Such as gw.0.")],
    out: Annotated[Path, typer.Argument(help="The directory to bring up to date.")],
    data: Data = DEFAULT,
) -> None:
    """Write a shard as static files for other transparency-log software (c2sp.org/tlog-tiles), records included.

    Example: gateway ledger publish gw.0 /srv/www/gw.0 --data ./data
    """
    with plain_errors():
        root, _, _ = locate(data, f"{shard}/0")
        typer.echo(f"{publish(root, shard, out)} files written under {out}")
