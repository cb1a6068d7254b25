"""Roots that somebody vouches for: the log's own signed heads, anchors in the governance ledger, heads from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.ledger import anchor, heads, note
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerCorrupt, LedgerError
from gateway.ledger.export import leaves, utc
from gateway.ledger.heads import Stored
from gateway.ledger.logkeys import Keyring
from gateway.ledger.note import BadSignature
from gateway.ledger.reader import shards
from gateway.ledger.scan import Head
from gateway.ledger.signature import verify
from gateway.ledger.verdict import Coverage, Finding, Verdict

UNANCHORED_US = 300_000_000
"""Five minutes; the running gateway anchors each minute."""


class Vouched:
    """Collects heads by shard, and findings about those that must not be believed."""

    def __init__(self, keyring: Keyring) -> None:
        self.heads: dict[str, list[Head]] = defaultdict(list)
        self.findings: list[Finding] = []
        self._keyring = keyring
        self._anchored: dict[str, Head] = {}

    def own(self, root: Path) -> None:
        """The signed heads that lie beside the shards under ``root``."""
        for shard in shards(root):
            with self._readable(shard):
                for stored in heads.anchored(root / shard):
                    self.take(shard, stored, "an anchored head")
            with self._readable(shard):
                if (newest := heads.newest(root / shard)) is not None:
                    self.take(shard, newest, "the log's newest head", own=True)

    @contextmanager
    def _readable(self, shard: str) -> Iterator[None]:
        """What is damaged vouches for nothing, and is found; of what cannot be had nothing can be said."""
        try:
            yield
        except LedgerCorrupt as error:
            self.findings.append(Finding(Verdict.BAD_SIGNATURE, shard, str(error)))
        except (LedgerError, OSError) as error:
            self.findings.append(Finding(Verdict.CANNOT, shard, str(error)))

    def anchors(self, governance: Path, shard: str = "gov") -> None:
        """The anchors and seals in a governance ledger; also names a log's own head that is older than its anchor."""
        newest = self._anchored
        try:
            for leaf in leaves(governance, shard) if shard in shards(governance) else ():
                if (found := anchor.read(leaf)) is not None:
                    for name, (size, root) in found[1].items():
                        head = Head(size, root, f"an anchor in {shard!r}", t_us=found[0])
                        self.heads[name].append(head)
                        newest[name] = max(newest.get(name, head), head, key=lambda each: each.size)
        except LedgerError:  # the governance ledger is verified itself, and named then
            pass
        for name, head in newest.items():
            own = next((item for item in self.heads[name] if item.own), None)
            if own is not None and own.size < head.size:
                text = f"the newest head on disk covers {own.size} records, but {head.size} were anchored"
                self.findings.append(Finding(Verdict.REPLAYED, name, text, own.size, head.size))

    def unanchored(self, item: Coverage) -> Finding | None:
        """The newest records of a shard, when they have not been anchored for longer than ``UNANCHORED_US``.

        What is not anchored can be cut off together with the shard's own heads, and nothing tells.
        """
        last = self._anchored.get(item.shard)
        size, since = (last.size, last.t_us) if last is not None else (0, item.oldest_us)
        if item.leaves <= size or item.newest_us - since <= UNANCHORED_US:
            return None
        text = (
            f"{item.leaves - size} records are in no anchor, since {utc(since)}: the observer did not run or could not"
        )
        return Finding(Verdict.UNANCHORED, item.shard, text, size, item.leaves - 1)

    def take(self, shard: str, stored: Stored, source: str, *, own: bool = False) -> None:
        """One signed head. What does not verify becomes a finding and vouches for nothing."""
        head = stored.head
        try:
            if head.origin.rpartition("/")[2] != shard:
                raise BadSignature(f"it is of the log {head.origin!r}")
            times = verify(stored.signed, self._keyring.for_head(head.origin, head.size))
        except BadSignature as error:
            self.findings.append(Finding(Verdict.BAD_SIGNATURE, shard, f"{source}: {error}", head.size))
            return
        t_us = max(times.values()) * 1_000_000 or stored.t_us
        self.heads[shard].append(Head(head.size, head.root, source, own=own, t_us=t_us))


def read_head(path: Path) -> tuple[str, Stored, str]:
    """A head that somebody else kept, a signed checkpoint in a file: its shard, itself, and words for it.

    Raises: LedgerError when it is none.
    """
    try:
        signed = note.parse(path.read_bytes())
        head, t_us = Checkpoint.parse(signed.text), path.stat().st_mtime_ns // 1000
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}") from error
    except note.BadNote as error:
        raise LedgerError(
            f"{path} is no signed head ({error}): expected a copy of a shard's file 'checkpoint'"
        ) from error
    return head.origin.rpartition("/")[2], Stored(head, signed, t_us), f"the head in {path.name}"
