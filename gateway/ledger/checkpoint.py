"""The head of a tree as text (c2sp.org/tlog-checkpoint): origin, size, root, one a line. No extension lines."""

from __future__ import annotations

import base64
from typing import NamedTuple

from gateway.ledger.note import BadNote

_DIGITS = 18
"""Of the largest size: SQLite's integers hold it."""


def decimal(text: str) -> int:
    """A size or an index: ASCII digits without leading zeros, at most 18. Raises: BadNote."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or (text[0] == "0" and text != "0"):
        raise BadNote(f"{text[:30]!r} is not a decimal number of at most {_DIGITS} digits")
    return int(text)


class Checkpoint(NamedTuple):
    """``size`` leaves of the log ``origin`` have ``root``."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text; extension lines are allowed and mean nothing. Raises: BadNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise BadNote("a checkpoint is three lines: origin, size, root")
        origin, size, encoded = lines[:3]
        leaves = decimal(size)
        try:
            root = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise BadNote(f"checkpoint root {encoded[:60]!r} is not base64") from error
        if len(root) != 32:
            raise BadNote(f"checkpoint root has {len(root)} bytes, a hash has 32")
        return cls(origin, leaves, root)
