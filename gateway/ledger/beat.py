"""How long commits took since the last beat, in bounded memory."""

from __future__ import annotations

_KEPT = 65_536


class CommitTimes:
    """Durations of commits and how many records they held; ``take`` empties it."""

    def __init__(self) -> None:
        self._ns: list[int] = []
        self._commits = 0
        self._records = 0

    def add(self, took_ns: int, records: int) -> None:
        """Count one commit."""
        self._commits += 1
        self._records += records
        if len(self._ns) < _KEPT:
            self._ns.append(took_ns)

    def take(self) -> dict[str, int]:
        """Counts and percentiles in microseconds, as fields of a beat; {} after nothing."""
        if not self._commits:
            return {}
        ordered = sorted(self._ns)
        last = len(ordered) - 1
        out = {
            "commits": self._commits,
            "committed": self._records,
            "commit_p50_us": ordered[last // 2] // 1000,
            "commit_p99_us": ordered[last * 99 // 100] // 1000,
            "commit_max_us": ordered[last] // 1000,
        }
        self._ns, self._commits, self._records = [], 0, 0
        return out
