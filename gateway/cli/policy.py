"""``gateway policy``: what a security team does with its rules, without touching a running gateway."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from gateway.cli.policy_explain import explain_command
from gateway.cli.policy_options import DEFAULT, Directory, Json, read, row
from gateway.cli.policy_replay import replay_command
from gateway.cli.policy_revisions import diff_command, history_command, release_command, rollback_command
from gateway.policy.builtins import portable
from gateway.policy.canaries import FILE, failures, parse
from gateway.policy.findings import PolicyInvalid
from gateway.policy.mutate import mutate
from gateway.policy.mutate_rules import survivors
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway, json_schema
from gateway.policy.testing import run_tests

app = typer.Typer(help="Check, test and prove policies; replay decisions; roll back.", no_args_is_help=True)

app.command("replay", epilog="Example: gateway policy replay --data data --candidate policies-next --since 7d")(
    replay_command
)
app.command("explain", epilog="Example: gateway policy explain gw.0/42 --data data")(explain_command)
app.command("history", epilog="Example: gateway policy history --data data")(history_command)
app.command("diff", epilog="Example: gateway policy diff 00ab49d2e5e5 policies")(diff_command)
app.command("rollback", epilog="Example: gateway policy rollback 00ab49d2e5e5 --data data --reason 'wrong hours'")(
    rollback_command
)
app.command("release", epilog="Example: gateway policy release --data data")(release_command)


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
    bundle = read(directory, as_json=as_json)
    report = run_tests(bundle.modules, bundle.tests, bundle.data)
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
    """Break every field of every canary, and every rule. Exit 1 if a field opens or no test notices a rule."""
    bundle = read(directory, as_json=as_json)
    point = EmbeddedPoint(bundle, gateway=Gateway())
    try:
        wrong = failures(parse(bundle.canaries), point.ask)
        report = mutate(bundle, point.ask)
        rules, untested = survivors(bundle)
    except (PolicyInvalid, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    good = not report.survivors and not wrong and not untested and report.canaries > 0
    if as_json:
        rows = [{"path": s.path, "change": s.change, "canary": s.canary, "effect": s.effect} for s in report.survivors]
        lines = [{"file": m.file, "line": m.line, "col": m.col, "text": m.text} for m in untested]
        shown = {"findings": rows, "untested": lines, "evaluations": report.evaluations, "unread": report.unread}
        typer.echo(json.dumps(shown))
        raise typer.Exit(0 if good else 1)
    for finding in wrong:
        typer.echo(str(finding.under(directory)))
    for survivor in report.survivors:
        typer.echo(f"{directory / FILE}:0:0: mutation: {survivor}")
    for mutant in untested:
        typer.echo(f"{directory}/{mutant}")
    if not report.canaries:
        typer.echo(f"{directory / FILE}:0:0: canary: there are none: state allows and denials that must hold")
    typer.echo(f"not read by this policy: {', '.join(report.unread) or 'nothing'}")
    typer.echo(f"inputs: {report.canaries} canaries, {report.evaluations} changes, {len(report.survivors)} open")
    typer.echo(f"rules: {rules} changes, {len(untested)} unnoticed by tests and canaries")
    raise typer.Exit(0 if good else 1)


@app.command("schema", epilog="Example: gateway policy schema > input-v1.schema.json")
def schema_command() -> None:
    """Print the JSON Schema of the input document."""
    typer.echo(json.dumps(json_schema(), indent=2))


@app.command("capabilities", epilog="Example: opa capabilities --current | gateway policy capabilities > portable.json")
def capabilities_command() -> None:
    """Reduce OPA's capabilities (stdin) to the portable profile, for `opa check --capabilities portable.json`."""
    try:
        reduced = portable(json.loads(sys.stdin.read()))
    except (ValueError, KeyError, TypeError) as error:
        typer.echo(f"stdin is not what `opa capabilities --current` prints: {error!r}", err=True)
        raise typer.Exit(2) from error
    typer.echo(json.dumps(reduced))
