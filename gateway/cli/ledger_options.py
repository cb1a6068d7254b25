"""What the ledger's commands share: where the data is, and errors without a traceback."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway.ledger import find
from gateway.ledger.errors import LedgerError, NoSuchRecord
from gateway.ledger.reader import shards
from gateway.ledger.verify import PREDICTIONS, ledgers

Data = Annotated[Path, typer.Option("--data", help="The gateway's data directory.", envvar="GATEWAY_DATA")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A prediction id, such as gw.0/42, or a decision id.")]
DEFAULT = Path("data")


@contextmanager
def plain_errors() -> Iterator[None]:
    """A fault of ledger or disk as one line on standard error, and status 2."""
    try:
        yield
    except (LedgerError, OSError) as error:
        named = isinstance(error, OSError) and error.filename is not None
        said = f"{error.filename}: {error.strerror}" if named else error  # type: ignore[union-attr]
        typer.echo(f"gateway ledger: {said}", err=True)
        raise typer.Exit(2) from error


def must_hold_ledger(data: Path) -> None:
    """Raises: LedgerError when there is none in the data directory."""
    if not ledgers(data):
        raise LedgerError(f"there is no ledger under {data}: give the directory that 'gateway serve --data' uses")


def must_be_there(keyring: Path) -> Path:
    """A keyring that signatures are held against. Without it they would be called bad. Raises: LedgerError."""
    if not keyring.exists():
        raise LedgerError(f"there is no keyring {keyring}: give with --keyring the public keys that you kept")
    return keyring


def locate(data: Path, prediction_id: str) -> tuple[Path, str, int]:
    """Root, shard and number of a prediction id, or of a decision id, for which all records are looked through.

    Raises: NoSuchRecord, LedgerCorrupt.
    """
    if re.fullmatch(r"[0-9a-f]{32}", prediction_id):
        return data / PREDICTIONS, *find.by_decision(data / PREDICTIONS, prediction_id)
    match = re.fullmatch(r"([A-Za-z0-9._-]+)/(\d+)", prediction_id)
    if match is None:
        raise NoSuchRecord(f"{prediction_id!r} is no prediction id: expected SHARD/NUMBER, such as gw.0/42")
    shard, seq = match[1], int(match[2])
    for root in ledgers(data):
        if shard in shards(root):
            return root, shard, seq
    raise NoSuchRecord(f"there is no shard {shard!r} under {data}")


def microseconds(text: str, default: int) -> int:
    """A time as wall-clock microseconds, ``default`` where none is given. Raises: LedgerError."""
    if not text:
        return default
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise LedgerError(f"{text!r} is no time: expected ISO 8601, such as 2026-11-23T08:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1_000_000)
