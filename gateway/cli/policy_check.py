"""``gateway policy check|test``: what a gateway asks of a bundle before it serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway.cli.policy_options import DEFAULT, Directory, Json, read, row
from gateway.policy.bundle import Bundle
from gateway.policy.canaries import FILE, failures, parse
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.policy.testing import TestReport, run_tests


def check_command(directory: Directory = DEFAULT, as_json: Json = False) -> None:
    """Parse, lint and try a bundle. Findings are FILE:LINE:COL: code: text; errors exit with 1."""
    bundle = read(directory, as_json=as_json)
    warnings = [finding.under(directory) for finding in bundle.warnings]
    if as_json:
        rows = [row(warning) for warning in warnings]
        typer.echo(json.dumps({"revision": bundle.revision, "findings": rows, "not_run": _not_run(bundle)}))
        return
    for warning in warnings:
        typer.echo(str(warning))
    reads = "everything" if bundle.reads is None else f"{len(bundle.reads)} input paths"
    typer.echo(f"{directory}: {len(bundle.modules)} modules, reads {reads}, revision {bundle.revision}: ok")
    if _not_run(bundle):
        rest = f"a gateway refuses a revision that fails one: gateway policy test {directory}"
        typer.echo(f"not run: {', '.join(_not_run(bundle))}; {rest}")


def _not_run(bundle: Bundle) -> list[str]:
    """The files of tests and canaries, which ``check`` leaves to ``test``."""
    return [*sorted(bundle.tests), *([FILE] if bundle.canaries else [])]


def run_command(
    directory: Directory = DEFAULT,
    min_coverage: Annotated[float, typer.Option(help="Fail below this percentage of lines.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Run the test_* rules of *_test.rego files, without OPA, with line coverage; then the canaries.

    Passes what a gateway would take: it runs the same before a revision serves.
    """
    bundle = read(directory, as_json=as_json)
    report = run_tests(bundle.modules, bundle.tests, bundle.data)
    canaries, wrong = _canaries(bundle, directory)
    good = report.passed and report.coverage >= min_coverage and not wrong
    if as_json:
        rows = [
            {"name": r.name, "file": r.file, "line": r.line, "passed": r.passed, "text": r.text} for r in report.results
        ]
        ran = {"canaries": canaries, "findings": [row(finding) for finding in wrong]}
        missed = {file: list(lines) for file, lines in report.missed.items() if lines}
        typer.echo(json.dumps({"tests": rows, "coverage": round(report.coverage, 1), "missed": missed, **ran}))
        raise typer.Exit(0 if good else 1)
    _print(report, directory, canaries, wrong)
    raise typer.Exit(0 if good else 1)


def _canaries(bundle: Bundle, directory: Path) -> tuple[int, list[Finding]]:
    """How many canaries there are and what is wrong with them."""
    try:
        canaries = parse(bundle.canaries)
        wrong = failures(canaries, EmbeddedPoint(bundle, gateway=Gateway()).ask, bundle.canaries)
    except PolicyInvalid as invalid:
        canaries, wrong = (), list(invalid.findings)
    return len(canaries), [finding.under(directory) for finding in wrong]


def _print(report: TestReport, directory: Path, canaries: int, wrong: list[Finding]) -> None:
    console = Console(highlight=False)
    for result in report.results:
        mark = "[green]PASS[/]" if result.passed else "[red]FAIL[/]"
        console.print(f"{mark} {result.name}", f"({directory / result.file}:{result.line})", soft_wrap=True)
        if result.text:
            console.print(f"  {result.text}", markup=False, soft_wrap=True)
    for file, lines in sorted(report.missed.items()):
        for line in lines:
            console.print(f"{directory / file}:{line}:1: not covered by a test", soft_wrap=True, markup=False)
    for finding in wrong:
        console.print(str(finding), soft_wrap=True, markup=False)
    failed = sum(not result.passed for result in report.results)
    console.print(f"{len(report.results)} tests, {failed} failed, {report.coverage:.1f} % of lines covered")
    console.print(f"{canaries} canaries, {len(wrong)} failed")
    if not report.results:
        console.print(f"{directory} has no test_* rule in any *_test.rego")
