"""How a client command ends: exit status, and what it says of a refusal, a mistake or a gateway that is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from gateway.cli import tensors
from gateway.cli.connection import BadTarget, Quotes, Refusal, Unreachable

REFUSED = 1
WRONG = 2
UNREACHABLE = 3
EXIT_STATUSES = "Exit status: 0 answered, 1 refused, 2 wrong usage or input, 3 gateway not reachable."


@contextmanager
def ended(as_json: bool) -> Iterator[None]:
    """Turn what may go wrong into a message and an exit status."""
    try:
        yield
    except Refusal as refusal:
        _tell(refusal, as_json)
        raise typer.Exit(REFUSED) from None
    except Unreachable as error:
        if as_json:
            typer.echo(json.dumps({"error": {"code": error.code, "message": str(error), "reasons": []}}))
        else:
            typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(UNREACHABLE) from None
    except (tensors.TensorError, BadTarget, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(WRONG) from None


def ids(quotes: Quotes) -> dict[str, str]:
    """What may be quoted, without what the gateway did not send."""
    known = {"prediction_id": quotes.prediction_id, "decision_id": quotes.decision_id, "trace_id": quotes.trace_id}
    return {name: value for name, value in known.items() if value}


def print_ids(console: Console, quotes: Quotes) -> None:
    """The ids, one a line."""
    for label, value in ids(quotes).items():
        console.print(f"[dim]{label.replace('_', ' ')}[/dim] {value}", highlight=False, soft_wrap=True)


def _tell(refusal: Refusal, as_json: bool) -> None:
    if as_json:
        error: dict[str, object] = {"code": refusal.code, "message": refusal.message, "reasons": list(refusal.reasons)}
        if refusal.hint:
            error["hint"] = refusal.hint
        typer.echo(json.dumps({"error": error} | ids(refusal.quotes)))
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text(refusal.code, style="bold red"), Text(refusal.message))
    print_ids(console, refusal.quotes)
    if refusal.hint:
        console.print(Text(refusal.hint))
    if refusal.code == "PERMISSION_DENIED" and refusal.quotes.prediction_id:
        console.print(Text(f"ask with: gateway policy explain {refusal.quotes.prediction_id} --data DIR"))
