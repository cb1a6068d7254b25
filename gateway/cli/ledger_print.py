"""How the ledger's commands look on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gateway.ledger import events
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.export import Row, jsonl, leaves, utc
from gateway.ledger.note import VerifierKey
from gateway.ledger.proof import Proof
from gateway.ledger.upkeep import Order
from gateway.ledger.verdict import Report

_COLOURS = {"answered": "green", "denied": "yellow", "unauthenticated": "yellow", "refused": "yellow", "failed": "red"}


@contextmanager
def progress(count: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar over ``count`` leaves on standard error; silent where nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verify", total=count)
        yield lambda done: bar.advance(task, done)


def report(found: Report, *, as_json: bool) -> None:
    """Coverage first: no findings over half a log would be no result."""
    if as_json:
        body = {
            "ok": found.ok,
            "coverage": [asdict(item) for item in found.coverage],
            "findings": [asdict(item) for item in found.findings],
        }
        typer.echo(json.dumps(body, indent=2))
        return
    table = Table(box=None, header_style="bold")
    for title in ("shard", "records", "checked", "calls", "segments", "signed heads", "root"):
        table.add_column(title, justify="left" if title in ("shard", "root") else "right")
    for item in found.coverage:
        heads = f"{item.heads} (newest {item.head:,})" if item.heads else "none"
        root = item.root[:16] or "unknown"
        table.add_row(
            item.shard, f"{item.leaves:,}", f"{item.checked:,}", f"{item.calls:,}", str(item.segments), heads, root
        )
    console = Console(highlight=False)
    console.print(table)
    for finding in found.findings:
        colour = "yellow" if finding in found.warnings else "red"
        console.print(f"[{colour}]{escape(str(finding))}[/{colour}]", soft_wrap=True)
    if unanswered := sum(item.unanswered for item in found.coverage):
        said = f"{_counted(unanswered, 'call')} died unanswered with a worker, as its successor wrote down"
        console.print(f"[yellow]{said}[/yellow]")
    leaves = sum(item.leaves for item in found.coverage)
    checked = sum(item.checked for item in found.coverage)
    verdict = "[green]OK[/green]" if found.ok else "[red]NOT OK[/red]"
    said = f"{checked:,} of {_counted(leaves, 'record')} checked, {_counted(len(found.findings), 'finding')}"
    console.print(f"{verdict}: {said}")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def proven(found: Proof, head: Checkpoint, signers: Mapping[VerifierKey, int], *, as_json: bool) -> None:
    """A proof that holds: what it proves, and who says so."""
    if as_json:
        names = [str(key) for key in signers]
        body = {"ok": True, "origin": head.origin, "size": head.size, "record": json.loads(found.extra), "keys": names}
        typer.echo(json.dumps(body, indent=2))
        return
    console = Console(highlight=False)
    console.print_json(found.extra.decode())
    console.print(
        f"[green]OK[/green]: record {found.seq} is in the log {escape(head.origin)} of {_counted(head.size, 'record')}"
    )
    for key, time_s in signers.items():
        console.print(
            f"signed by {escape(key.name)} ({key.id.hex()})" + (f" at {utc(time_s * 1_000_000)}" if time_s else "")
        )


def effects(root: Path, given: Mapping[str, Order], *, as_json: bool) -> None:
    """What orders did, as their shards recorded it."""
    wanted = {order.id for order in given.values()}
    rows = []
    for shard in given:
        for leaf in leaves(root, shard):
            if b'"kind":"erase"' in leaf[:40] and (item := events.decode(leaf)).fields.get("order") in wanted:
                rows.append({"prediction_id": f"{shard}/{item.seq}", "reason": item.reason, **item.fields})
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        records = row["records"]
        text = ", ".join(records[:5]) + (" ..." if len(records) > 5 else "") if isinstance(records, tuple) else ""
        which = f" ({text})" if text else ""
        what = f"{row['what']} of {_counted(int(str(row['count'])), 'record')}{which}, {row['kept']} kept back"
        typer.echo(f"{row['prediction_id']}: {what}")
    if not rows:
        typer.echo("nothing to do")
    elif not any(row["count"] for row in rows):
        typer.echo("nothing was kept of that: it was erased before, or the name or tenant is another", err=True)


def line(item: Row, *, as_json: bool, today: str = "") -> None:
    """One record as one line; its date (UTC) too unless that is ``today``, as ``2026-11-23``."""
    if as_json:
        sys.stdout.buffer.write(jsonl(item))
        sys.stdout.buffer.flush()
        return
    console = Console(highlight=False)
    date, _, clock = str(item["time"]).partition("T")
    moment = clock[:12] if date == today else f"{date} {clock[:12]}"
    head = f"{moment} [bold]{escape(str(item['prediction_id']))}[/bold]"
    if item["kind"] != "call":
        console.print(
            f"{head} [dim]{escape(str(item['kind']))} {escape(json.dumps(item['fields']))}[/dim]", soft_wrap=True
        )
        return
    outcome = str(item["outcome"])
    shown = f"[{_COLOURS.get(outcome, 'magenta')}]{outcome}[/]"
    if item["effect"] == "warned" and item["decision"] == "deny":
        shown += " [yellow]warned[/]"  # policy denied it, and the denial was excused
    console.print(f"{head} {shown} {escape(_told(item))}", soft_wrap=True)


def _told(item: Row) -> str:
    """Who, what, how it ended and why; what a call does not have leaves no trace."""
    who = "/".join(str(item[name]) for name in ("tenant", "principal") if item[name])
    model = ":".join(str(name) for name in (item["model"] or item["asked"], item["version"]) if name)
    reasons = item["reasons"]
    why = ", ".join(str(reason) for reason in reasons) if isinstance(reasons, tuple | list) else ""
    words = (who, item["action"], model, item["code"], f"{item['dur_us']} us", why)
    return " ".join(str(word) for word in words if word)
