"""``gateway policy replay|explain``: recorded decisions, decided again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.ledger_options import locate
from gateway.cli.policy_options import DEFAULT, DEFAULT_DATA, Data, Json, read, since_us
from gateway.ledger.errors import KeyMissing, LedgerError
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record, decode
from gateway.ledger.vault import FileKeys, Vault
from gateway.pipeline.payload import decode_payload
from gateway.policy import slices
from gateway.policy.explain import Explanation, explain
from gateway.policy.input import Document
from gateway.policy.obligations import kind
from gateway.policy.replay import ReplayReport, replay

Policies = Annotated[Path, typer.Option("--policies", help="The policy bundle.")]


def replay_command(
    candidate: Annotated[Path, typer.Option(help="The bundle that would decide.")],
    data: Data = DEFAULT_DATA,
    since: Annotated[str, typer.Option(metavar="DURATION", help="Only the last 7d, 12h, ...")] = "",
    tenant: Annotated[str, typer.Option(help="Only this tenant.")] = "",
    accept: Annotated[list[str] | None, typer.Option(help="A decision id whose new allow is meant; repeat.")] = None,
    as_json: Json = False,
) -> None:
    """Decide recorded calls again with a candidate. Coverage first; exit 1 on a denial that turns into an allow."""
    bundle = read(candidate)
    begin = since_us(since)
    wanted = ((r, s) for r, s in recorded(data) if r.t_us >= begin and tenant in ("", r.tenant))
    try:
        report = replay(wanted, bundle)
    except LedgerError as error:
        typer.echo(f"gateway policy replay: {error}", err=True)
        raise typer.Exit(2) from error
    accepted = frozenset(accept or ())
    opened = [c for c in report.changed if c.kind == "deny_to_allow" and c.decision_id not in accepted]
    if as_json:
        typer.echo(json.dumps(_as_json(report)))
    else:
        _print(report, bundle.revision)
    raise typer.Exit(1 if opened else 0)


def explain_command(
    what: Annotated[str, typer.Argument(metavar="ID|FILE", help="A prediction id, or a file with an input document.")],
    data: Data = DEFAULT_DATA,
    policies: Policies = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show which checks one decision needed and proved, what was read, which lines ran."""
    bundle = read(policies)
    found = explain(bundle, _document(what, data))
    if as_json:
        shown = {**asdict(found), "verdict": msgspec.to_builtins(found.verdict), "revision": bundle.revision}
        typer.echo(json.dumps(shown))
        return
    _print_explanation(found, bundle.revision)


def recorded(data: Path) -> Iterator[tuple[Record, bytes]]:
    """Every call of a data directory with the policy input kept for it (b"" for none), shard by shard.

    A call that was decided from the cache has the input of the decision that it repeats.

    Raises: LedgerError when a segment cannot be read.
    """
    root = data / "ledger"
    vault = Vault(FileKeys(data / "keys" / "payload"))
    for shard in shards(root):
        reader = ShardReader(root, shard)
        origins: dict[str, bytes] = {}
        seq = 0
        while leaves := reader.read(seq):
            for _, leaf in leaves:
                record = decode(leaf)
                if record.kind == "call" and record.cached:
                    yield record, origins.get(record.cached_from, b"")
                elif record.kind == "call":
                    kept = _kept(reader, vault, record)
                    if record.allow and kept:  # only allows are repeated
                        origins[record.decision_id] = kept
                    yield record, kept
            seq = leaves[-1][0] + 1


def _kept(reader: ShardReader, vault: Vault, record: Record) -> bytes:
    """The policy input in a record's payload, b"" when it was not kept or was erased."""
    sealed = reader.payload(record.seq)
    if sealed is None:
        return b""
    try:
        _, body = vault.open(sealed, record.prediction_id, record.tenant)
    except KeyMissing:  # the key was destroyed: that is how payloads are erased
        return b""
    return decode_payload(body).policy if body else b""


def _kept_or_repeated(data: Path, reader: ShardReader, record: Record) -> bytes:
    """The policy input of one record, found by the decision it repeats if it was decided from the cache."""
    if record.cached:
        return next((kept for found, kept in recorded(data) if found.decision_id == record.cached_from), b"")
    return _kept(reader, Vault(FileKeys(data / "keys" / "payload")), record)


def _document(what: str, data: Path) -> Document:
    """Raises: Exit with a sentence when there is no such input."""
    try:
        if Path(what).is_file():
            return msgspec.json.decode(Path(what).read_bytes(), type=dict[str, object])
        root, shard, seq = locate(data, what)
        reader = ShardReader(root, shard)
        kept = _kept_or_repeated(data, reader, decode(reader.leaf(seq)))
    except (LedgerError, msgspec.DecodeError, msgspec.ValidationError) as error:
        typer.echo(f"gateway policy explain: {error}", err=True)
        raise typer.Exit(2) from error
    if not kept:
        typer.echo(f"{what}: its policy input was not kept, so it cannot be explained", err=True)
        raise typer.Exit(2)
    return slices.without_marks(msgspec.json.decode(kept, type=dict[str, object]))


def _as_json(report: ReplayReport) -> dict[str, object]:
    groups = [
        {"kind": k, "check": check, "tenant": tenant, "model": model, "count": count, "example": example}
        for k, check, tenant, model, count, example in report.groups()
    ]
    shown = asdict(report)
    shown["changed"] = [asdict(change) for change in report.changed]
    return {**shown, "groups": groups}


def _print(report: ReplayReport, revision: str) -> None:
    console = Console(highlight=False)
    share = 100 * report.replayed / report.records if report.records else 0.0
    console.print(f"candidate {revision}: {report.replayed} of {report.records} decisions replayed ({share:.1f} %)")
    for cause, count in report.skipped.most_common():
        console.print(f"  not replayable: {count} x {cause}", markup=False)
    named: tuple[tuple[str, Counter[str]], ...] = (
        ("tenants", report.tenants), ("models", report.models), ("actions", report.actions),
    )  # fmt: skip
    for name, counts in named:
        console.print(f"  {name}: {', '.join(f'{k or chr(45)} {n}' for k, n in counts.most_common()) or 'none'}")
    idle = sum(map(len, report.lines_idle.values()))
    console.print(f"  candidate lines: {report.lines_run} ran, {idle} did not")
    if not report.changed:
        console.print("no decision changes")
        return
    table = Table("change", "check", "tenant", "model", "decisions", "for example", box=None)
    for how, check, tenant, model, count, example in report.groups():
        table.add_row(how, check, tenant, model, str(count), example)
    console.print(table)


def _print_explanation(found: Explanation, revision: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    verdict = found.verdict
    console.print(f"{'[green]allow[/]' if verdict.allow else '[red]deny[/]'}  revision {revision}")
    for reason in verdict.reasons:
        console.print(f"  reason {reason.code} ({reason.severity}) {reason.msg}".rstrip(), markup=False)
    for obligation in verdict.obligations:
        console.print(f"  obligation {kind(obligation)}: {msgspec.json.encode(obligation).decode()}", markup=False)
    for check in found.required or ():
        mark = "[green]proven [/]" if check in (found.proven or ()) else "[red]missing[/]"
        console.print(f"  {mark} {check}")
    for path, value in found.values.items():
        console.print(f"  {path} = {json.dumps(value)}", markup=False)
    for file, lines in found.lines.items():
        console.print(f"  ran {file}: {', '.join(map(str, lines))}", markup=False)
