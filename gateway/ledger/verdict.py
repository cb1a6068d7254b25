"""What a verification found: coverage first, then findings by name."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Verdict(enum.StrEnum):
    """The name of a finding."""

    EDITED = "EDITED"
    MISSING = "MISSING"
    TRUNCATED = "TRUNCATED"
    FORK = "FORK"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    SHARD_MISSING = "SHARD_MISSING"
    UNANCHORED = "UNANCHORED"
    REPLAYED = "REPLAYED"
    COUNTS = "COUNTS"
    CLOCK = "CLOCK"
    CANNOT = "CANNOT"


_WARNINGS = frozenset({Verdict.UNANCHORED})
_UNCHECKED = frozenset({Verdict.CANNOT})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold. ``first`` and ``last`` are sequence numbers, where they mean something."""

    verdict: Verdict
    shard: str
    text: str
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        where = ""
        if self.first is not None:
            where = f"({self.first})" if self.last in (None, self.first) else f"({self.first}-{self.last})"
        return f"{self.verdict}{where} {self.shard}: {self.text}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of one shard was looked at. ``head`` is the largest signed size that was compared (0 for none).

    ``oldest_us`` and ``newest_us`` are wall-clock times of its records. ``unanswered`` calls were begun and
    died with their process, as its successor tells.
    """

    shard: str
    leaves: int
    checked: int
    calls: int
    segments: int
    root: str
    heads: int = 0
    head: int = 0
    head_us: int = 0
    oldest_us: int = 0
    newest_us: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class Report:
    """The whole answer. ``ok`` is true only when everything that was to be checked was checked and holds."""

    coverage: list[Coverage] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """Findings that are evidence of tampering or loss."""
        return [f for f in self.findings if f.verdict not in _WARNINGS | _UNCHECKED]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that a reader should know and that break no promise."""
        return [f for f in self.findings if f.verdict in _WARNINGS]

    @property
    def ok(self) -> bool:
        """True when nothing contradicts the ledger and nothing was left out."""
        return self.exit_status == 0

    @property
    def exit_status(self) -> int:
        """0 all holds, 1 evidence of tampering, 2 could not check."""
        if self.errors:
            return 1
        return 2 if any(f.verdict in _UNCHECKED for f in self.findings) else 0
