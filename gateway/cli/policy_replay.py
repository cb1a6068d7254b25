"""``gateway policy replay``: recorded decisions, decided again by a candidate."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.policy_options import DEFAULT_DATA, Data, Json, read, revisions, since_us
from gateway.cli.policy_recorded import recorded
from gateway.ledger.errors import LedgerError
from gateway.policy.incumbents import Incumbents
from gateway.policy.replay import ReplayReport, replay


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
        report = replay(wanted, bundle, Incumbents(revisions(data).folder).obligations)
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


def _as_json(report: ReplayReport) -> dict[str, object]:
    groups = [
        {"kind": k, "check": check, "tenant": tenant, "model": model, "count": count, "example": example}
        for k, check, tenant, model, count, example in report.groups()
    ]
    shown = {name: getattr(report, name) for name in ReplayReport.__dataclass_fields__}
    return {**shown, "changed": [asdict(change) for change in report.changed], "groups": groups}


def _print(report: ReplayReport, revision: str) -> None:
    console = Console(highlight=False)
    share = 100 * report.replayed / report.records if report.records else 0.0
    console.print(f"candidate {revision}: {report.replayed} of {report.records} decisions replayed ({share:.1f} %)")
    for group, count in report.others.most_common():
        console.print(f"  apart: {count} x {group}, no predictions: their input is never recorded")
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
