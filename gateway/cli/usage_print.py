"""Usage on a terminal: as many columns as fit, every name whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.grid import blocks, width_of
from gateway.observer.reconcile import Reconciliation
from gateway.observer.usage_formats import Row

_COUNTS = {"requests": "requests", "denied": "denied", "failed": "failed", "rows": "rows"}
_ALL = _COUNTS | {"bytes": "bytes", "compute_seconds": "compute s"}


def print_table(by: Sequence[str], rows: Sequence[Row], check: Reconciliation, console: Console | None = None) -> None:
    """Print ``rows`` grouped ``by``, then whether they add up. Where bytes and compute time do not fit they are left
    out, and said to be; where the counts do not fit either, each row is a block of lines."""
    console = console or Console(highlight=False)
    if rows:
        _print_rows(by, rows, console)
    else:
        console.print("no usage in this window")
    console.print(Text(str(check), style="green" if check.exact else "bold red"))


def _print_rows(by: Sequence[str], rows: Sequence[Row], console: Console) -> None:
    whole, counts = _table(by, rows, _ALL), _table(by, rows, _COUNTS)
    if width_of(whole, console) <= console.width:
        console.print(whole)
    elif not console.is_terminal:  # a pipe has no width
        Console(file=console.file, width=width_of(whole, console), highlight=False).print(whole)
    elif width_of(counts, console) <= console.width:
        console.print(counts)
        console.print("[dim]bytes and compute time need a wider terminal, or --format csv or json[/]")
    else:
        names = [*_dimensions(by), *_ALL.values()]
        blocks(names, [[*_names(by, row), *(cell.plain for cell in _cells(row, _ALL))] for row in rows], console)
        console.print()


def _table(by: Sequence[str], rows: Sequence[Row], columns: dict[str, str]) -> Table:
    table = Table(title="Usage", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in _dimensions(by):
        table.add_column(name, no_wrap=True)
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, _names(by, row)), *_cells(row, columns))
    return table


def _dimensions(by: Sequence[str]) -> list[str]:
    """The version stands beside its model: a table is as wide as a terminal."""
    return [name for name in by if name != "version" or "model" not in by]


def _names(by: Sequence[str], row: Row) -> list[str]:
    shown = dict(row)
    if "model" in by and "version" in by:
        shown["model"] = f"{row['model']}:{row['version']}" if row["model"] else ""
    return [str(shown[name]) or "-" for name in _dimensions(by)]


def _cells(row: Row, columns: dict[str, str]) -> list[Text]:
    shown = row | {"bytes": int(row["in_bytes"]) + int(row["out_bytes"])}
    return [_cell(shown[name]) for name in columns]


def _cell(value: float | str) -> Text:
    text = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
    return Text(text, style="dim" if value == 0 else "")
