"""Findings: what is wrong with a policy and exactly where, ``FILE:LINE:COL: code: text``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

_PLACE = re.compile(r"--> (?P<file>.+?):(?P<line>\d+):(?P<col>\d+)")
_SAID = re.compile(r"^error: (?P<text>.*)$", re.MULTILINE)
_V0 = ("`if` keyword is required", "`contains` keyword is required")
_TAB = 4  # columns that the engine counts for a tab


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One finding; an ``error`` stops the load. Line and column count from 1, 0 means the whole file."""

    file: str
    line: int
    col: int
    code: str
    text: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        mark = "" if self.severity == "error" else "warning: "
        return f"{self.file}:{self.line}:{self.col}: {self.code}: {mark}{self.text}"

    def under(self, root: Path) -> Finding:
        """The same finding with its file as seen from where ``root`` is."""
        return replace(self, file=str(root / self.file))

    @classmethod
    def of_engine(cls, text: str, file: str, code: str = "", *, source: str = "") -> Finding:
        """The finding in an engine's error text; ``file`` where the text names none."""
        place = _PLACE.search(text)
        message = _SAID.search(text)
        said = message["text"].strip() if message else text.strip().partition("\n")[0]
        found = code or ("v0-syntax" if any(hint in text for hint in _V0) else "parse")
        if place is None:
            return cls(file, 0, 0, found, said)
        line, col = int(place["line"]), int(place["col"])
        return cls(place["file"], line, _column(source, line, col), found, said)


class PolicyInvalid(Exception):
    """The policy cannot be used. ``findings`` say why, sorted by place; warnings are among them."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(findings))
        super().__init__("\n".join(str(finding) for finding in self.findings))


def _column(source: str, line: int, col: int) -> int:
    """An engine's column, in which a tab is four wide, as an editor's, in which it is one."""
    lines = source.split("\n")
    if not 1 <= line <= len(lines):
        return col
    width = 1
    for number, character in enumerate(lines[line - 1], start=1):
        if width >= col:
            return number
        width += _TAB if character == "\t" else 1
    return len(lines[line - 1]) + 1
