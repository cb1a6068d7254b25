"""``gateway policy``: what a security team does with its rules, without touching a running gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway.policy.bundle import Bundle
from gateway.policy.canaries import FILE, failures, parse
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.mutate import mutate
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.policy.testing import run_tests

app = typer.Typer(help="Check, test and prove policies; replay decisions; roll back.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The policy bundle.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT = Path("policies")


@app.command("check", epilog="Example: gateway policy check policies")
def check_command(directory: Directory = DEFAULT, as_json: Json = False) -> None:
    """Parse, lint and try a bundle. Findings are FILE:LINE:COL: code: text; errors exit with 1."""
    bundle = read(directory, as_json=as_json)
    warnings = [finding.under(directory) for finding in bundle.warnings]
    if as_json:
        typer.echo(json.dumps({"revision": bundle.revision, "findings": [row(w) for w in warnings]}))
        return
    for warning in warnings:
        typer.echo(str(warning))
    reads = "everything" if bundle.reads is None else f"{len(bundle.reads)} input paths"
    typer.echo(f"{directory}: {len(bundle.modules)} modules, reads {reads}, revision {bundle.revision}: ok")


@app.command("test", epilog="Example: gateway policy test policies --min-coverage 90")
def run_command(
    directory: Directory = DEFAULT,
    min_coverage: Annotated[float, typer.Option(help="Fail below this percentage of lines.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Run the test_* rules of *_test.rego files, without OPA, with line coverage."""
    report = run_tests(read(directory, as_json=as_json))
    good = report.passed and report.coverage >= min_coverage
    if as_json:
        rows = [{"name": r.name, "file": r.file, "passed": r.passed, "text": r.text} for r in report.results]
        missed = {file: list(lines) for file, lines in report.missed.items() if lines}
        typer.echo(json.dumps({"tests": rows, "coverage": round(report.coverage, 1), "missed": missed}))
        raise typer.Exit(0 if good else 1)
    console = Console(highlight=False)
    for result in report.results:
        mark = "[green]PASS[/]" if result.passed else "[red]FAIL[/]"
        console.print(f"{mark} {result.name}", f"({result.file})", soft_wrap=True)
        if result.text:
            console.print(f"  {result.text}", markup=False, soft_wrap=True)
    for file, lines in sorted(report.missed.items()):
        for line in lines:
            console.print(f"{directory / file}:{line}:1: not covered by a test", soft_wrap=True, markup=False)
    failed = sum(not result.passed for result in report.results)
    console.print(f"{len(report.results)} tests, {failed} failed, {report.coverage:.1f} % of lines covered")
    if not report.results:
        console.print(f"{directory} has no test_* rule in any *_test.rego")
    raise typer.Exit(0 if good else 1)


@app.command("mutate", epilog="Example: gateway policy mutate policies")
def mutate_command(directory: Directory = DEFAULT, as_json: Json = False) -> None:
    """Break every field of every canary and see what is allowed still. Exit 1 if a broken field opens."""
    bundle = read(directory, as_json=as_json)
    point = EmbeddedPoint(bundle, gateway=Gateway())
    try:
        wrong = failures(parse(bundle.canaries), point.ask)
        report = mutate(bundle, point.ask)
    except (PolicyInvalid, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    good = not report.survivors and not wrong and report.canaries > 0
    if as_json:
        rows = [{"path": s.path, "change": s.change, "canary": s.canary, "effect": s.effect} for s in report.survivors]
        typer.echo(json.dumps({"findings": rows, "evaluations": report.evaluations, "unread": report.unread}))
        raise typer.Exit(0 if good else 1)
    for finding in wrong:
        typer.echo(str(finding.under(directory)))
    for survivor in report.survivors:
        typer.echo(f"{directory / FILE}:0:0: mutation: {survivor}")
    if not report.canaries:
        typer.echo(f"{directory / FILE}:0:0: canary: there are none: state allows and denials that must hold")
    typer.echo(f"not read by this policy: {', '.join(report.unread) or 'nothing'}")
    counts = f"{report.canaries} canaries, {report.evaluations} mutations"
    typer.echo(f"{counts}, {len(report.survivors)} open, {len(report.accepted)} accepted in mutate.allow")
    raise typer.Exit(0 if good else 1)


def read(directory: Path, *, as_json: bool = False) -> Bundle:
    """The bundle, or its findings printed and exit status 1."""
    try:
        return Bundle.read(directory)
    except PolicyInvalid as invalid:
        if as_json:
            typer.echo(json.dumps({"revision": "", "findings": [row(f) for f in invalid.findings]}))
        else:
            for finding in invalid.findings:
                typer.echo(str(finding))
        raise typer.Exit(1) from invalid


def row(finding: Finding) -> dict[str, object]:
    """A finding for ``--json``."""
    return {
        "file": finding.file,
        "line": finding.line,
        "col": finding.col,
        "code": finding.code,
        "severity": finding.severity,
        "text": finding.text,
    }
