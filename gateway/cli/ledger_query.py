"""``gateway ledger query | archive``: SQL over what was recorded, by DuckDB (the extra ``audit``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.grid import grid
from gateway.cli.ledger_options import DEFAULT, Data, Json, microseconds, must_hold_ledger, plain_errors
from gateway.ledger import archive
from gateway.ledger.errors import LedgerError
from gateway.ledger.questions import QUESTIONS
from gateway.ledger.verify import PREDICTIONS

_ABOUT = "; ".join(f"{name}: {item.about}" for name, item in QUESTIONS.items())


def query(
    question: Annotated[
        str, typer.Argument(help=f"A name ({_ABOUT}) or SQL over the views records, calls and predictions.")
    ] = "",
    model: Annotated[str, typer.Option(help="The model that the question is about.")] = "",
    version: Annotated[str, typer.Option(help="The version that the question is about.")] = "",
    digest: Annotated[str, typer.Option(help="The beginning of a policy digest.")] = "",
    since: Annotated[str, typer.Option(help="From this time on (ISO 8601, UTC unless said).")] = "",
    until: Annotated[str, typer.Option(help="Before this time.")] = "",
    from_archive: Annotated[Path | None, typer.Option("--archive", help="Parquet files instead of the ledger.")] = None,
    data: Data = DEFAULT,
    as_json: Json = False,
) -> None:
    """Ask what was predicted: by the name of a question, or in SQL.

    Without a question: the names of those that are known.

    Example: gateway ledger query version --model credit --since 2026-11-01 --data ./data
    Example: gateway ledger query "SELECT outcome, count(*) FROM predictions GROUP BY ALL" --data ./data
    """
    if not question:
        listed = [(name, item.about, " ".join(f"--{each}" for each in item.needs)) for name, item in QUESTIONS.items()]
        grid(["question", "about", "needs"], listed)
        return
    with plain_errors():
        known = QUESTIONS.get(question)
        if known is None and " " not in question.strip():
            raise LedgerError(f"there is no question {question!r}: known are {', '.join(QUESTIONS)}; or give SQL")
        values = {"model": model, "version": version, "digest": digest}
        missing = [name for name in (known.needs if known else ()) if not values[name]]
        if missing:
            raise LedgerError(f"the question {question!r} needs --{' and --'.join(missing)}")
        bounds = {"since_us": microseconds(since, 0), "until_us": microseconds(until, 1 << 62)}
        if from_archive is None:
            must_hold_ledger(data)
        with archive.database() as db:
            if from_archive is not None:
                archive.load_archive(db, from_archive)
            else:
                archive.load(db, data / PREDICTIONS)
            names, rows = archive.ask(db, known.sql if known else question, {**values, **bounds})
    if as_json:
        typer.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2, default=str))
    else:
        grid(names, rows)


def write_archive(
    out: Annotated[Path, typer.Argument(help="The directory to write Parquet files to.")], data: Data = DEFAULT
) -> None:
    """Write closed segments as Parquet, each with its exact records and their hashes.

    Example: gateway ledger archive /srv/archive --data ./data
    """
    with plain_errors():
        made = archive.write(data / PREDICTIONS, out)
    for path in made:
        typer.echo(str(path))
    typer.echo(f"{len(made)} new files; the segment in use follows when it is closed", err=True)
