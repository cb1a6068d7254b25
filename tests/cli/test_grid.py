"""Answers of any width: whole in a pipe, readable on a narrow terminal."""

from __future__ import annotations

import io

from rich.console import Console

from gateway.cli.grid import grid

NAMES = ("prediction_id", "principal", "model_sha")
ROWS = [("gw.0/42", "scoring-[app]", "ab" * 32), ("gw.0/43", None, b"\x01\x02")]


def printed(width: int, *, terminal: bool, rows: list[tuple[object, ...]] = ROWS) -> str:
    file = io.StringIO()
    grid(NAMES, rows, Console(file=file, width=width, force_terminal=terminal, color_system=None, highlight=False))
    return file.getvalue()


def test_a_pipe_gets_one_whole_line_a_record() -> None:
    head, first, second = (line.split() for line in printed(20, terminal=False).splitlines())
    assert head == list(NAMES)
    assert first == ["gw.0/42", "scoring-[app]", "ab" * 32]
    assert second == ["gw.0/43", "0102"]


def test_a_narrow_terminal_gets_a_block_a_record() -> None:
    assert printed(60, terminal=True).splitlines() == [
        "prediction_id: gw.0/42",
        "principal:     scoring-[app]",
        "model_sha:     " + "ab" * 32,
        "",
        "prediction_id: gw.0/43",
        "principal:     ",
        "model_sha:     0102",
    ]


def test_a_wide_terminal_gets_the_table() -> None:
    assert len(printed(120, terminal=True).splitlines()) == 3


def test_no_rows_are_the_names_alone() -> None:
    assert printed(120, terminal=True, rows=[]).split() == list(NAMES)
