"""What workers count without a record of its own, folded from the leaves in which they say so: beats, sheds, and what
is told of a worker that died by the one that comes after it.

A beat holds what its worker counted since it started, so a fold adds what rose since the last beat of the same boot.
A worker that is killed takes with it what it shed after its last beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.ledger import events
from gateway.ledger.errors import LedgerCorrupt
from gateway.observer.cells import Counter, Labels

KINDS = frozenset({"beat", "shutdown", "shed", "recover"})
"""The leaves that are looked at."""

_TOLD = ("started", "unrecorded", "shed")


class Beats:
    """Counters of calls begun, of calls answered UNAVAILABLE for want of a record, and of calls refused in a flood.

    Labels are our own words: shards' names and the reasons of our error classes.
    """

    def __init__(self) -> None:
        self.started = Counter("gateway_started_calls", "Calls that workers began, recorded or not.")
        self.unrecorded = Counter(
            "gateway_unrecorded_calls", "Calls answered UNAVAILABLE because their record could not be made durable."
        )
        self.unanswered = Counter(
            "gateway_unanswered_calls",
            "Calls that were begun and died with their worker: neither answered nor recorded.",
        )
        self.commits = Counter("gateway_ledger_commits", "Commits to stable storage, each of many records.", ("shard",))
        self.shed = Counter("gateway_shed", "Calls refused in a flood: counted together, by reason.", ("reason",))
        self._last: dict[Labels, list[int]] = {}

    def apply(self, leaf: bytes) -> None:
        """Fold one leaf of one of ``KINDS``; one that is no event counts as nothing."""
        try:
            event = events.decode(leaf)
        except LedgerCorrupt:
            return
        if event.kind == "shed":
            self.shed.add((str(event.fields.get("reason", "")),), _count(event.fields, "count"))
            return
        if event.kind == "recover":
            self._account(event)
            return
        now = [_count(event.fields, name) for name in _TOLD]
        before = self._last.get((event.shard, event.boot), [0] * len(_TOLD))
        for counter, value, seen in zip((self.started, self.unrecorded), now, before, strict=False):
            counter.add((), max(0, value - seen))
        self.commits.add((event.shard,), _count(event.fields, "commits"))
        self._last = {key: told for key, told in self._last.items() if key[0] != event.shard}
        self._last[event.shard, event.boot] = now

    def _account(self, event: events.Event) -> None:
        """What is told of a process that died; the calls that it began since its last beat were not counted yet."""
        if "owed" not in event.fields:
            return
        key = (event.shard, str(event.fields.get("after", "")))
        started, unrecorded, shed = self._last.pop(key, [0] * len(_TOLD))
        self.started.add((), max(0, _count(event.fields, "owed") - (started - unrecorded - shed)))
        self.unanswered.add((), _count(event.fields, "unanswered"))

    def families(self) -> Iterator[Counter]:
        """The counters."""
        yield from (self.started, self.unrecorded, self.unanswered, self.commits, self.shed)

    def dump(self) -> list[tuple[Labels, list[int]]]:
        """What the next beat of each shard is compared with."""
        return list(self._last.items())

    def load(self, told: list[tuple[Labels, list[int]]]) -> None:
        """Take over a dump; an older one has fewer numbers."""
        self._last = {tuple(key): [*values, *[0] * len(_TOLD)][: len(_TOLD)] for key, values in told}


def _count(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name, 0)
    return value if isinstance(value, int) and value > 0 else 0
