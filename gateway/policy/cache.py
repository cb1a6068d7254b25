"""The exact cache: remembers allows by the values that the policy reads, for one snapshot.

Sound because an evaluation is a pure function of modules, data and input; the snapshot fixes the first two and the
key holds every input value that the modules can read. Denials are never kept. Bounded by entries and bytes, the oldest
out first: none lives longer than seconds, so it matters little which.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from random import getrandbits
from typing import NamedTuple

from gateway.policy.pdp import Query
from gateway.types import Decision


@dataclass(slots=True)
class CacheStats:
    """Counters since the snapshot began to serve."""

    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    mismatches: int = 0


class _Entry(NamedTuple):
    decision: Decision
    until_ns: int
    size: int


class DecisionCache:
    """Decisions by key. For one event loop; times are the monotonic nanoseconds of the asking call."""

    def __init__(self, *, max_entries: int = 10_000, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[Hashable, _Entry] = {}
        self._bytes = 0

    def fresh(self) -> DecisionCache:
        """An empty cache with the same bounds."""
        return DecisionCache(max_entries=self._max_entries, max_bytes=self._max_bytes)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now_ns: int) -> Decision | None:
        """The decision kept under ``key``, unless its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now_ns >= entry.until_ns:
            self._drop(key)
            return None
        return entry.decision

    def put(self, key: Hashable, decision: Decision, now_ns: int) -> None:
        """Keep an allow for its ``ttl_s``; anything else is not kept."""
        size = len(decision.slice) + 512
        if decision.allow is not True or decision.ttl_s <= 0 or len(decision.slice) > 8192:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = _Entry(decision, now_ns + decision.ttl_s * 1_000_000_000, size)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        self._bytes -= self._entries.pop(key).size


def repeated(kept: Decision, query: Query) -> Decision:
    """``kept`` as the decision on ``query``: with an id of its own, and the name of the one that it repeats."""
    # By position, in the order of Decision's fields: by keyword it takes five times as long.
    return Decision(
        getrandbits(128).to_bytes(16).hex(),
        True,
        query.model.id if query.model is not None else None,
        kept.reasons,
        kept.obligations,
        kept.revision,
        kept.digest,
        kept.engine,
        kept.effect,
        kept.policy_version,
        kept.id,
        kept.ttl_s,
        kept.slice,
    )
