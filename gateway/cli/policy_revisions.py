"""``gateway policy history|diff|rollback|release``: what was active, and going back to it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.policy_options import DEFAULT_DATA, Data, Json, author, read, revisions
from gateway.policy.bundle import Bundle
from gateway.policy.difference import difference
from gateway.policy.findings import PolicyInvalid
from gateway.policy.revisions import NoSuchRevision


def history_command(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Every activation, refusal, rollback and release, oldest first; exit 2 where none was ever kept."""
    if not (data / "policy").is_dir():
        typer.echo(
            f"there is no policy history under {data}: give the directory that 'gateway serve --data' uses", err=True
        )
        raise typer.Exit(2)
    kept = revisions(data)
    events = kept.history()
    if as_json:
        typer.echo(json.dumps({"events": [asdict(event) for event in events], "pinned": kept.pinned()}))
        return
    for event in events:
        moment = datetime.fromtimestamp(event.time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        before = f"before {event.previous[:12]}" if event.previous else ""
        parts = (moment, f"{event.kind:<11}", event.revision, before, f"by {event.author}" if event.author else "")
        typer.echo("  ".join(part for part in parts if part).rstrip())
        if event.text:
            typer.echo(f"    {_note(event.text)}")
    if kept.pinned():
        typer.echo(f"pinned to {kept.pinned()[:12]} until: gateway policy release --data {data}")


def _note(text: str) -> str:
    """The first finding whole, and how many more there are; what is indented belongs to the one above."""
    first, *rest = text.split("\n")
    more = sum(bool(line) and not line[0].isspace() for line in rest)
    return f"{first}  +{more} more (--json)" if more else first


def diff_command(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A kept revision, or a directory.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A kept revision, or a directory.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Show what changed between two revisions: read paths, modules, data."""
    for line in difference(_bundle(old, data), _bundle(new, data)):
        typer.echo(line)


def rollback_command(
    revision: Annotated[str, typer.Argument(metavar="REV", help="A kept revision, as history shows it.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the history.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Go back to a kept revision and stay there until released. Its tests and canaries must pass again."""
    kept = revisions(data)
    try:
        event = kept.pin(revision, author=author(), reason=reason)
    except (NoSuchRevision, PolicyInvalid) as error:
        typer.echo(f"not rolled back: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"rolled back to {event.revision}; running gateways follow within their reload interval")


def release_command(data: Data = DEFAULT_DATA) -> None:
    """End a rollback: the policy directory decides again."""
    if not revisions(data).release(author=author()):
        typer.echo("nothing is pinned", err=True)
        raise typer.Exit(1)
    typer.echo("released; running gateways follow their policy directory again")


def _bundle(name: str, data: Path) -> Bundle:
    if Path(name).exists():
        return read(Path(name))
    try:
        return revisions(data).load(name)
    except (NoSuchRevision, PolicyInvalid) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
