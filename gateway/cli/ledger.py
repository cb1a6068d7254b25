"""``gateway ledger``: look at, prove and check what was recorded. Works while the gateway runs, and without it."""

from __future__ import annotations

import typer

from gateway.cli import ledger_care, ledger_look, ledger_payload, ledger_proof, ledger_query, ledger_witness

app = typer.Typer(no_args_is_help=True, help="Look at, prove and check what was recorded.", rich_markup_mode=None)

app.command("verify")(ledger_proof.verify_command)
app.command("prove")(ledger_proof.prove)
app.command("consistency")(ledger_proof.consistency)
app.command("publish")(ledger_proof.publish_command)
app.command("sign")(ledger_proof.sign)
app.command("tail")(ledger_look.tail)
app.command("show")(ledger_look.show)
app.command("payload")(ledger_payload.payload)
app.command("export")(ledger_look.export_command)
app.command("query")(ledger_query.query)
app.command("archive")(ledger_query.write_archive)
app.command("erase")(ledger_care.erase)
app.command("prune")(ledger_care.prune)
app.command("hold")(ledger_care.hold)
app.command("release-hold")(ledger_care.release_hold)
app.command("rotate-key")(ledger_care.rotate_key)
app.command("rotate-payload-key")(ledger_care.rotate_payload_key)
app.command("witness")(ledger_witness.witness)
app.command("cosign")(ledger_witness.cosign_command)
app.command("quorum")(ledger_witness.quorum)
