"""``gateway policy explain``: one decision taken apart, by the revision that made it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from gateway.cli.policy_options import DEFAULT, DEFAULT_DATA, Data, Json, read, revisions
from gateway.cli.policy_recorded import recorded_one
from gateway.ledger.errors import LedgerError
from gateway.ledger.record import Record
from gateway.malformed import MALFORMED
from gateway.policy import slices
from gateway.policy.bundle import Bundle
from gateway.policy.explain import Explanation, explain
from gateway.policy.findings import PolicyInvalid
from gateway.policy.input import Document
from gateway.policy.obligations import kind
from gateway.policy.replay import changed
from gateway.policy.revisions import NoSuchRevision


@dataclass(frozen=True, slots=True)
class _Explained:
    """An explanation beside what was recorded: ``differs`` says how, ``lacks`` what these rules read and it has not."""

    found: Explanation
    bundle: Bundle
    record: Record | None
    differs: str
    lacks: tuple[str, ...]

    @property
    def wrong(self) -> bool:
        """Whether the very revision that decided now decides otherwise: then this explains nothing."""
        return bool(self.differs) and self.record is not None and self.record.policy_sha == self.bundle.digest


def explain_command(
    what: Annotated[
        str, typer.Argument(metavar="ID|FILE", help="A prediction id, a decision id, or a file with an input document.")
    ],
    data: Data = DEFAULT_DATA,
    policies: Annotated[
        Path | None,
        typer.Option(help="Explain with this bundle instead of the revision that decided; for a FILE, ./policies."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which checks one decision needed and proved, what was read, which lines ran.

    A recorded decision is explained by the kept revision that made it. Exit 1 when that one now decides otherwise.
    """
    record, kept = (None, _file(what)) if Path(what).is_file() else _recorded(what, data)
    bundle = _deciding(record, data) if record is not None and policies is None else read(policies or DEFAULT)
    found = explain(bundle, slices.without_marks(kept))
    change = changed(record, found.verdict) if record is not None else None
    differs = f"{change.kind} ({', '.join(change.checks)})" if change is not None else ""
    lacks = tuple(slices.lacks(kept, bundle.reads)) if record is not None else ()
    explained = _Explained(found, bundle, record, differs, lacks)
    if as_json:
        typer.echo(json.dumps(_as_json(explained)))
    else:
        _print(explained)
    raise typer.Exit(1 if explained.wrong else 0)


def _file(name: str) -> Document:
    try:
        return msgspec.json.decode(Path(name).read_bytes(), type=dict[str, object])
    except (OSError, *MALFORMED) as error:
        _refuse(f"{name}: {error}")


def _recorded(what: str, data: Path) -> tuple[Record, Document]:
    """The record and the values that its policy read."""
    try:
        record, kept = recorded_one(data, what)
        if not record.decision_id:
            _refuse(f"{what} ended before a decision ({record.outcome or record.kind}): there is nothing to explain")
        if isinstance(kept, str):
            _refuse(f"{_recorded_line(record)}\nit cannot be explained: {kept}")
        return record, msgspec.json.decode(kept, type=dict[str, object])
    except (LedgerError, OSError, *MALFORMED) as error:
        _refuse(str(error))


def _deciding(record: Record, data: Path) -> Bundle:
    """The kept revision that a record names."""
    try:
        return revisions(data).load(record.policy_sha, vet=False)
    except (NoSuchRevision, PolicyInvalid) as error:
        _refuse(
            f"{_recorded_line(record)}\nthat revision cannot be read back: {error}\n"
            "to see what other rules make of the same input: --policies DIR"
        )


def _refuse(text: str) -> NoReturn:
    typer.echo(f"gateway policy explain: {text}", err=True)
    raise typer.Exit(2)


def _recorded_line(record: Record) -> str:
    codes = f" ({', '.join(record.reasons)})" if record.reasons else ""
    how = f", {record.effect}" if record.effect not in ("", "enforced") else ""
    verdict = "allow" if record.allow else "deny"
    named = f"{record.prediction_id}, decision {record.decision_id}"
    return f"recorded: {verdict}{codes}{how} under {record.policy_rev or 'no revision'}, {named}"


def _as_json(explained: _Explained) -> dict[str, object]:
    found, record = explained.found, explained.record
    shown = {**asdict(found), "verdict": msgspec.to_builtins(found.verdict), "revision": explained.bundle.revision}
    if record is None:
        return shown
    past = {
        "prediction_id": record.prediction_id,
        "decision_id": record.decision_id,
        "allow": record.allow,
        "reasons": record.reasons,
        "obligations": record.obligations,
        "revision": record.policy_rev,
    }
    return {**shown, "recorded": past, "differs": explained.differs, "lacks": explained.lacks}


def _print(explained: _Explained) -> None:
    console = Console(highlight=False, soft_wrap=True)
    found, record, revision = explained.found, explained.record, explained.bundle.revision
    if record is not None:
        console.print(_recorded_line(record), markup=False)
        if record.policy_sha != explained.bundle.digest:
            console.print(f"[yellow]explained by other rules than those that decided:[/] revision {revision}")
        if explained.differs:
            console.print(f"[bold red]DIFFERS FROM THE RECORD: {explained.differs}[/]")
        if explained.lacks:
            console.print(f"[bold red]THE RECORD LACKS what these rules read: {', '.join(explained.lacks)}[/]")
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
