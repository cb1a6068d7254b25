"""``gateway policy shadow``: what a candidate that decides along has seen, and what it would change."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.policy_options import DEFAULT_DATA, Data, Json
from gateway.policy.shadow_report import ShadowReport, read_report


def shadow_command(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Show what the candidate of `policy.shadow` would change. Coverage first; exit 1 where it would allow a denial,
    2 where no candidate decides along."""
    report = read_report(data / "observer")
    if report is None or not (report.active or report.refused):
        typer.echo(f"no candidate decides along under {data}: start the gateway with --policy-shadow DIR", err=True)
        raise typer.Exit(2)
    if as_json:
        typer.echo(json.dumps({**msgspec.to_builtins(report), "coverage": report.coverage}))
    else:
        _print(report)
    raise typer.Exit(1 if report.changes.get("deny_to_allow") else 0)


def _print(report: ShadowReport) -> None:
    console = Console(highlight=False)
    if report.refused:
        console.print(f"a newer candidate was refused: {report.refused}", markup=False)
    if not report.active:
        return
    since = datetime.fromtimestamp(report.since_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    share = f"{100 * report.coverage:.1f} %"
    console.print(f"candidate {report.revision}: {report.compared} of {report.seen} decisions compared ({share})")
    console.print(f"  since {since}")
    for cause, count in sorted(report.skipped.items(), key=lambda item: -item[1]):
        console.print(f"  not compared: {count} x {cause}", markup=False)
    if not report.changes:
        console.print("no decision changes")
        return
    console.print(", ".join(f"{kind} {count}" for kind, count in sorted(report.changes.items())))
    table = Table("change", "check", "tenant", "model", "decisions", "for example", box=None)
    for group in sorted(report.groups, key=lambda group: -group.count):
        table.add_row(group.kind, group.check, group.tenant, group.model, str(group.count), group.example)
    console.print(table)
