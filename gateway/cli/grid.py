"""Any answer as a table, or, where a table would not fit, as one block a record."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text


def grid(names: Sequence[str], rows: Sequence[Sequence[object]], console: Console | None = None) -> None:
    """Print ``rows``, nothing of them left out: what a pipe reads is a table as wide as it needs, and on a terminal
    that is too narrow for it each record is a block of ``name: value`` lines."""
    console = console or Console(highlight=False)
    table = Table(box=None, header_style="bold")
    for name in names:
        table.add_column(Text(name), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    needed = width_of(table, console)
    if needed <= console.width:
        console.print(table)
    elif console.is_terminal:
        blocks(names, [[_cell(value) for value in row] for row in rows], console)
    else:
        Console(file=console.file, width=needed, highlight=False).print(table)


def width_of(table: Table, console: Console) -> int:
    """The columns that ``table`` takes when nothing in it is wrapped or cut."""
    return console.measure(table, options=console.options.update(width=1 << 20)).maximum


def blocks(names: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print each row as lines ``name: value``, an empty line between two rows; the terminal wraps what is long."""
    margin = max(map(cell_len, names)) + 2
    for number, row in enumerate(rows):
        if number:
            console.print()
        for name, value in zip(names, row, strict=True):
            console.print(Text.assemble((f"{name}:".ljust(margin), "bold"), value), soft_wrap=True)


def _cell(value: object) -> str:
    return "" if value is None else value.hex() if isinstance(value, bytes) else str(value)
