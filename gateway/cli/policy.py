"""``gateway policy``: what a security team does with its rules, without touching a running gateway."""

from __future__ import annotations

import json
import sys

import typer

from gateway.cli import policy_grant
from gateway.cli.policy_check import check_command, run_command
from gateway.cli.policy_explain import explain_command
from gateway.cli.policy_options import DEFAULT, Directory, Json, read
from gateway.cli.policy_replay import replay_command
from gateway.cli.policy_revisions import diff_command, history_command, release_command, rollback_command
from gateway.cli.policy_shadow import shadow_command
from gateway.policy.builtins import portable
from gateway.policy.canaries import FILE, failures, parse
from gateway.policy.findings import PolicyInvalid
from gateway.policy.mutate import mutate
from gateway.policy.mutate_rules import survivors
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway, json_schema

app = typer.Typer(help="Check, test and prove policies; replay decisions; roll back.", no_args_is_help=True)

app.add_typer(policy_grant.app, name="grant")
app.command("check", epilog="Example: gateway policy check policies")(check_command)
app.command("test", epilog="Example: gateway policy test policies --min-coverage 90")(run_command)
app.command("replay", epilog="Example: gateway policy replay --data data --candidate policies-next --since 7d")(
    replay_command
)
app.command("shadow", epilog="Example: gateway policy shadow --data data")(shadow_command)
app.command("explain", epilog="Example: gateway policy explain gw.0/42 --data data")(explain_command)
app.command("history", epilog="Example: gateway policy history --data data")(history_command)
app.command("diff", epilog="Example: gateway policy diff 00ab49d2e5e5 policies")(diff_command)
app.command("rollback", epilog="Example: gateway policy rollback 00ab49d2e5e5 --data data --reason 'wrong hours'")(
    rollback_command
)
app.command("release", epilog="Example: gateway policy release --data data")(release_command)


@app.command("mutate", epilog="Example: gateway policy mutate policies")
def mutate_command(directory: Directory = DEFAULT, as_json: Json = False) -> None:
    """Break every field of every canary, and every rule. Exit 1 if a field opens or no test notices a rule."""
    bundle = read(directory, as_json=as_json)
    point = EmbeddedPoint(bundle, gateway=Gateway())
    try:
        wrong = failures(parse(bundle.canaries), point.ask, bundle.canaries)
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
