"""``gateway usage``: who used what, exactly, reconciled with the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway.cli.usage_print import print_table
from gateway.ledger.record import Record
from gateway.observer.account import Account
from gateway.observer.reconcile import Reconciliation
from gateway.observer.report import html_report
from gateway.observer.usage import Usage
from gateway.observer.usage_formats import (
    DEFAULT_GROUP,
    DIMENSIONS,
    cloud_event,
    focus_rows,
    iso,
    rows_by,
    to_csv,
)

END_OF_TIME_US = 2**62

app = typer.Typer(
    invoke_without_command=True,
    epilog="Example: gateway usage --data data --from 2026-11-01 --group-by tenant,model --format csv",
)


class Format(StrEnum):
    """How usage is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    CLOUDEVENTS = "cloudevents"
    FOCUS = "focus"


def moment(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 date or time; one without a zone is UTC.

    Raises: typer.BadParameter.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no date or time: write 2026-11-23 or 2026-11-23T07:00Z") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def dimensions(text: str) -> tuple[str, ...]:
    """The dimensions named in ``text``, comma-separated.

    Raises: typer.BadParameter.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown or not names:
        raise typer.BadParameter(f"{', '.join(unknown) or 'nothing'} cannot be grouped by; use {', '.join(DIMENSIONS)}")
    return names


Data = Annotated[Path, typer.Option("--data", help="The gateway's data directory.", envvar="GATEWAY_DATA")]
From = Annotated[str, typer.Option("--from", help="First moment (ISO 8601, UTC unless it says otherwise).")]
To = Annotated[str, typer.Option("--to", help="First moment that is too late.")]


@app.callback()
def usage(
    context: typer.Context,
    data: Data = Path("data"),
    start: From = "",
    end: To = "",
    group_by: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(DIMENSIONS)}.")] = ",".join(
        DEFAULT_GROUP
    ),
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.TABLE,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    source: Annotated[
        str, typer.Option(help="Names this gateway in CloudEvents and FOCUS rows.")
    ] = "inference-gateway",
    recount: Annotated[
        bool,
        typer.Option("--recount", help="Read every record instead of the observer's closing, and compare the two."),
    ] = False,
) -> None:
    """Who used which model, from the observer's closing and the newest records, reconciled with the ledger's count
    (exit status 1 if it is not)."""
    if context.invoked_subcommand is not None:
        return
    by = dimensions(group_by)
    chosen = Format.JSON if json else format
    if chosen is Format.CLOUDEVENTS:
        found, check = read(
            data, start, end, lambda record: typer.echo(msgspec.json.encode(cloud_event(record, source)))
        )
    else:
        found, check = read(data, start, end, recount=recount)
    if chosen is Format.TABLE:
        print_table(by, rows_by(found.rows, by), check)
    else:
        _print_text(chosen, found, by, source)
        typer.echo(str(check), err=True)
    if not check.exact:
        raise typer.Exit(1)


@app.command(epilog="Example: gateway usage report --data data --from 2026-11-01 --output usage.html")
def report(
    data: Data = Path("data"),
    start: From = "",
    end: To = "",
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("usage.html"),
    source: Annotated[str, typer.Option(help="Names this gateway in the report.")] = "inference-gateway",
) -> None:
    """Write usage as one HTML file with plots; exit status 1 when it does not reconcile with the ledger."""
    found, check = read(data, start, end)
    window = f"From {start or 'the first record'} to {end or 'the last record'} (UTC)"
    made = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        output.write_text(html_report(found.rows, check, source=source, window=window, made=made), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {output}")
    typer.echo(str(check), err=True)
    if not check.exact:
        raise typer.Exit(1)


def read(
    data: Path, start: str, end: str, each: Callable[[Record], None] | None = None, *, recount: bool = False
) -> tuple[Usage, Reconciliation]:
    """Usage of the window in words, and whether it adds up.

    Raises: typer.BadParameter for a moment that is none, or a directory that holds no ledger; typer.Exit when a
    recount finds other sums than the closing.
    """
    root = data / "ledger"
    if not root.is_dir():
        raise typer.BadParameter(f"{root} does not exist: name the gateway's data directory with --data")
    from_us = moment(start) if start else 0
    to_us = moment(end) if end else END_OF_TIME_US
    closing = data / "observer" / "usage.db"
    account = Account(root, from_us, to_us, closing=closing)
    check = account.read(each)
    if recount:
        again = Account(root, from_us, to_us, closing=None)
        check = again.read(sizes=account.sizes)
        _compare(account.usage, again.usage, closing)
    return account.usage, check


def _compare(closed: Usage, counted: Usage, closing: Path) -> None:
    """Raises: typer.Exit when the two differ, having named the first difference."""
    keys = sorted(closed.rows.keys() | counted.rows.keys())
    differing = [key for key in keys if closed.rows.get(key) != counted.rows.get(key)]
    if differing:
        first = differing[0]
        typer.echo(
            f"{len(differing)} of {len(keys)} hourly sums in {closing} are not those of the records, the first that of "
            f"{iso(first.hour_us)} {'/'.join(first[1:])}: closed {closed.rows.get(first)}, counted "
            f"{counted.rows.get(first)}. Unless records were pruned, stop the gateway and delete the closing: it is "
            "made again",
            err=True,
        )
        raise typer.Exit(1)


def _print_text(format: Format, found: Usage, by: Sequence[str], source: str) -> None:
    if format is Format.CSV:
        typer.echo(to_csv(rows_by(found.rows, by)), nl=False)
    elif format is Format.FOCUS:
        typer.echo(to_csv(focus_rows(found.rows, source)), nl=False)
    elif format is Format.JSON:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows_by(found.rows, by)), indent=2))
