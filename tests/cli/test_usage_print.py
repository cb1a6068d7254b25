"""The table of ``gateway usage`` at the widths that terminals have."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gateway.cli.usage_print import print_table
from gateway.observer.reconcile import Reconciliation
from gateway.observer.usage_formats import DEFAULT_GROUP, Row

CHECK = Reconciliation(ledger=3, billed=3, outside=0, others={}, broken={})


def a_row(**fields: float | str) -> Row:
    given: Row = {
        "tenant": "clinic",
        "principal": "screening-app",
        "model": "breast-cancer",
        "version": "1",
        "requests": 12_345,
        "answered": 12_340,
        "denied": 3,
        "failed": 2,
        "rows": 24_680,
        "in_bytes": 1_000_000,
        "out_bytes": 234_567,
        "compute_seconds": 1234.5,
    }
    return given | fields


def printed(width: int, *rows: Row, terminal: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None, highlight=False)
    print_table(DEFAULT_GROUP, rows, CHECK, console)
    return file.getvalue()


def test_eighty_columns_hold_the_counts_and_say_what_is_missing() -> None:
    text = printed(80, a_row(), a_row(principal="front-desk", model=""))
    for whole in ("screening-app", "breast-cancer:1", "requests", "12,345", "24,680"):
        assert whole in text
    assert "1,234,567" not in text
    assert "bytes and compute time need a wider terminal" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_wide_terminal_shows_everything() -> None:
    text = printed(120, a_row())
    assert "1,234,567" in text
    assert "1,234.500" in text
    assert "wider" not in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_names_are_whole_at_any_width(width: int) -> None:
    principal = "spiffe://prod.example.com/ns/scoring/sa/" + "x" * 80
    text = printed(width, a_row(principal=principal))
    assert principal in text
    assert "1,234,567" in text


def test_a_pipe_gets_every_column_on_one_line_a_row() -> None:
    text = printed(40, a_row(), terminal=False)
    (line,) = (line for line in text.splitlines() if "screening-app" in line)
    counts = ["12,345", "3", "2", "24,680", "1,234,567", "1,234.500"]
    assert line.split() == ["clinic", "screening-app", "breast-cancer:1", *counts]


def test_nothing_is_said() -> None:
    assert printed(80).startswith("no usage in this window")
