"""Findings: what is wrong with a policy and exactly where, ``FILE:LINE:COL: code: text``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_ENGINE = re.compile(r"--> (?P<file>.+?):(?P<line>\d+):(?P<col>\d+)")
_MESSAGE = re.compile(r"^(?:\s*\|)?\s*(?P<text>error: .*|.*error.*)$", re.MULTILINE)
_V0 = ("`if` keyword is required", "rego v0", "rego.v1", "`contains` keyword")


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

    @classmethod
    def of_engine(cls, text: str, file: str, code: str = "") -> Finding:
        """The finding in an engine's error text; ``file`` where the text names none."""
        place = _ENGINE.search(text)
        message = _MESSAGE.search(text)
        said = message["text"].removeprefix("error: ").strip() if message else text.strip().splitlines()[0]
        found = code or ("v0-syntax" if any(hint in text for hint in _V0) else "parse")
        if place is None:
            return cls(file, 0, 0, found, said)
        return cls(place["file"], int(place["line"]), int(place["col"]), found, said)


class PolicyInvalid(Exception):
    """The policy cannot be used. ``findings`` say why, sorted by place; warnings among them."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(findings))
        super().__init__("\n".join(str(finding) for finding in self.findings))
