"""Reading one shard from its first byte to its last, and naming what does not hold.

Checked on the way: segments abut, leaves are dense and name their own place, leaf bytes hash to the
stored tiles and to every root that somebody vouches for, boots repeat size and root, counters add up,
the clock does not run backwards, what was pruned is recorded as pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.ledger import merkle, segment
from gateway.ledger.accounts import Accounts
from gateway.ledger.errors import LedgerCorrupt, LedgerError
from gateway.ledger.owed import found
from gateway.ledger.pruned import Pruned
from gateway.ledger.reader import ShardReader
from gateway.ledger.reading import Int64, decoder_of
from gateway.ledger.tail import Tail
from gateway.ledger.tree import Tile, Tree
from gateway.ledger.verdict import Coverage, Finding, Verdict

CLOCK_TOLERANCE_US = 60_000_000
_BATCH = 4_096
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Head:
    """A root that somebody vouches for. ``source`` says who; ``own`` is the log's newest head on this disk."""

    size: int
    root: bytes
    source: str
    own: bool = False
    t_us: int = 0


class Line(msgspec.Struct, gc=False):
    """What verification needs of any leaf."""

    v: int
    kind: str
    shard: str
    seq: Int64
    boot: str = ""
    t_us: Int64 = 0
    dur_us: Int64 = 0
    fields: Mapping[str, bool | Int64 | str | list[str]] = {}


_read = decoder_of(Line)


class Scan:
    """One pass over one shard. ``run`` once, then read ``findings`` and ``coverage``."""

    def __init__(
        self,
        root: Path,
        shard: str,
        heads: Sequence[Head] = (),
        *,
        tail: Tail | None = None,
        clock_tolerance_us: int = CLOCK_TOLERANCE_US,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.findings: list[Finding] = []
        self._root = root
        self._shard = shard
        self._pending = sorted(heads, key=lambda head: head.size)
        self._tolerance_us = clock_tolerance_us
        self._progress = progress
        self._reader = ShardReader(root, shard)
        self._tree = Tree()  # of the first records, as long as all that came before are known
        self._whole = True
        self._next = 0
        self._checked = 0
        self._calls = 0
        self._tail = tail
        self._oldest_us = 0
        self._clock_us = 0
        self._fits: set[Head] = set()
        self._differs: set[Head] = set()
        self._accounts = Accounts()
        self._pruned = Pruned()
        self._starts = {segment.first_seq(path): path for path in segment.files(root / shard)}

    def run(self) -> None:
        """Read everything that was committed when this began."""
        try:
            size = self._reader.size()
            self._pruned = Pruned(self._reader.pruned())
            self._pass(0)
            while self._next < size:
                batch = self._reader.read(self._next, min(_BATCH, size - self._next))
                self._take(batch, size)
                self._progress(len(batch))
            self.findings += self._pruned.judge(self._reader, self._root / self._shard, size)
        except LedgerCorrupt as error:
            self._find(Verdict.EDITED, str(error), self._next)
        except LedgerError as error:
            self._find(Verdict.CANNOT, str(error))
            self._pending.clear()  # what was not read is not missing
        finally:
            self._reader.close()
        self._judge_heads()

    @property
    def coverage(self) -> Coverage:
        """What was looked at."""
        fitting = [head for head in self._fits if head.size]
        newest = max(fitting, key=lambda head: head.size, default=None)
        return Coverage(
            shard=self._shard,
            leaves=self._next,
            checked=self._checked,
            calls=self._calls,
            segments=len(self._starts),
            root=self._tree.root().hex() if self._whole else "",
            heads=len(fitting),
            head=newest.size if newest else 0,
            head_us=max((head.t_us for head in fitting), default=0),
            oldest_us=self._oldest_us,
            newest_us=self._clock_us,
            unanswered=self._accounts.unanswered,
        )

    def _take(self, batch: Iterable[tuple[int, bytes]], size: int) -> None:
        for seq, leaf in batch:
            self._skip_to(seq)
            self._one(seq, leaf)
            self._checked += 1
        if not batch:
            self._skip_to(size)

    def _one(self, seq: int, leaf: bytes) -> None:
        if seq in self._starts:
            self._check_start(seq)
        try:
            line = _read(leaf)
        except LedgerCorrupt as error:
            self._find(Verdict.EDITED, f"the bytes are not a record ({error.__cause__})", seq)
        else:
            if line.shard != self._shard or line.seq != seq:
                self._find(Verdict.EDITED, f"this place holds record {line.shard}/{line.seq}", seq)
            elif line.kind == "call":
                self._calls += 1
                self._accounts.call(line.boot)
                self._check_clock(seq, line.t_us + line.dur_us)
            else:
                self._check_clock(seq, line.t_us)
                self._check_event(seq, line)
        self._add(merkle.leaf_hash(leaf))

    def _add(self, leaf_hash: bytes) -> None:
        if self._whole:
            for tile in self._tree.add(leaf_hash):
                self._check_tile(tile)
        self._pass(self._next + 1)

    def _pass(self, size: int) -> None:
        """Come to ``size`` and compare with every head of it. When leaves are missing nothing can be said."""
        self._next = size
        while self._pending and self._pending[0].size <= size:
            head = self._pending.pop(0)
            if self._whole:
                (self._fits if head.root == self._tree.root() else self._differs).add(head)

    def _skip_to(self, seq: int) -> None:
        """Step over what is not there, segment by segment: one may be pruned and the next cut."""
        while (here := self._next) < seq:
            self._skip(here, min([seq, *(start for start in self._starts if start > here)]))

    def _skip(self, first: int, end: int) -> None:
        """Leaves ``[first, end)`` are not there; their hashes are taken from stored tiles where there are any."""
        if not self._pruned.covers(first, end):
            self._find(Verdict.MISSING, f"{end - first} of the records are not there", first, end - 1)
        for seq in range(first, end):
            tile = self._reader.tile(0, seq >> 8)
            if tile is None:  # however many are missing, by any number that somebody wrote into the file
                self._whole = False
                self._pass(end)
                return
            at = (seq & 255) * 32
            self._add(tile[at : at + 32])

    def _check_start(self, seq: int) -> None:
        path = self._starts[seq]
        stored = self._reader.start_root(path)
        if self._whole and stored != self._tree.root():
            self._find(Verdict.EDITED, f"{path.name} does not continue the segment before it", 0, max(0, seq - 1))

    def _check_tile(self, tile: Tile) -> None:
        stored = self._reader.tile(tile.level, tile.n)
        if stored == tile.hashes:
            return
        span = 1 << (8 * tile.level)
        first = tile.n << (8 * (tile.level + 1))
        if stored is None or len(stored) != len(tile.hashes):
            self._find(Verdict.EDITED, f"tile {tile.level}/{tile.n} is missing or cut", first, first + 256 * span - 1)
            return
        for i in range(256):
            if stored[i * 32 : i * 32 + 32] != tile.hashes[i * 32 : i * 32 + 32] and not self._explained(
                first + i * span, first + (i + 1) * span
            ):
                last = first + (i + 1) * span - 1
                self._find(Verdict.EDITED, "the bytes do not hash to the stored tree", first + i * span, last)

    def _explained(self, first: int, end: int) -> bool:
        """True when a finding about these very leaves stands already."""
        return any(
            finding.first is not None and first <= finding.first < end and finding.verdict is Verdict.EDITED
            for finding in self.findings
        )

    def _check_clock(self, seq: int, t_us: int) -> None:
        self._oldest_us = self._oldest_us or t_us
        if t_us < self._clock_us - self._tolerance_us:
            back_s = (self._clock_us - t_us) / 1e6
            self._find(Verdict.CLOCK, f"the clock ran back by {back_s:.0f} s: trust order, not time", seq)
            self._clock_us = t_us
        self._clock_us = max(self._clock_us, t_us)

    def _check_event(self, seq: int, line: Line) -> None:
        fields = line.fields
        if line.kind == "boot":
            self._accounts.begin(line.boot)
            if fields.get("size") != seq:
                self._find(Verdict.EDITED, f"a boot record says size {fields.get('size')}", seq)
            elif self._whole and fields.get("root") != self._tree.root().hex():
                self._find_once(Verdict.EDITED, "records before this boot differ from what it saw", 0, max(0, seq - 1))
        elif line.kind == "recover":
            self._accounts.discount(line.boot, found(self._reader, fields))
            self._check_counts(seq, self._accounts.left(fields))
        elif line.kind == "erase":
            self._pruned.take(fields)
        elif line.kind in ("beat", "shutdown"):
            self._check_counts(seq, self._accounts.counted(line.boot, fields))

    def _check_counts(self, seq: int, defect: str) -> None:
        if defect and self._whole:  # with records missing nothing can add up
            self._find(Verdict.COUNTS, defect, seq)

    def _judge_heads(self) -> None:
        """Heads beyond the end: TRUNCATED. Heads that differ: FORK when the log's own head fits, else EDITED."""
        if beyond := [head for head in self._pending if head.size > self._next]:
            head = beyond[-1]
            text = f"have {self._next} records, {head.source} covers {head.size}"
            self._find(Verdict.TRUNCATED, text, self._next, head.size - 1)
        if not self._differs or any(f.verdict in (Verdict.EDITED, Verdict.MISSING) for f in self.findings):
            return
        bad = min(self._differs, key=lambda head: head.size)
        if any(head.own and head.size >= bad.size for head in self._fits):
            self._find(
                Verdict.FORK, f"{bad.source} has another root at size {bad.size} than the log's own head", bad.size
            )
            return
        if changed := {seq for head in self._differs for seq in self._changed(head)}:
            for seq in sorted(changed):
                self._find(Verdict.EDITED, "the bytes are not those that a signed head covers", seq)
            return
        good = max((head.size for head in self._fits if head.size < bad.size), default=0)
        self._find(Verdict.EDITED, f"the records do not have the root of {bad.source}", good, bad.size - 1)

    def _changed(self, head: Head) -> list[int]:
        tail = self._tail
        return tail.changed(self._tree, head.root) if tail is not None and tail.size == head.size else []

    def _find_once(self, verdict: Verdict, text: str, first: int, last: int) -> None:
        if not any(finding.verdict is verdict for finding in self.findings):
            self._find(verdict, text, first, last)

    def _find(self, verdict: Verdict, text: str, first: int | None = None, last: int | None = None) -> None:
        if sum(finding.verdict is verdict for finding in self.findings) < _NAMED:
            self.findings.append(Finding(verdict, self._shard, text, first, last))
