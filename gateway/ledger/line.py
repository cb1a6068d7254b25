"""The records of a shard on their way to disk: numbered as they come, and told what became of them.

Everything that is done once for every record is here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.errors import LedgerUnavailable
from gateway.ledger import events
from gateway.ledger.ledger import Encode, Payload, Waiter
from gateway.ledger.writer import Entry
from gateway.types import Receipt

log = logging.getLogger(__name__)
_FAILED = "ledger.waiter_failed"


class Line:
    """Numbers records of ``shard`` and hands them to ``gather``. For the event loop's thread.

    ``pending`` are not durable yet, at most ``bound``. ``next`` is the number of the next one; those below ``durable``
    are known to be on disk. ``refusal`` says why none is taken now, "" while some are.
    """

    def __init__(self, shard: str, bound: int, gather: Callable[[Entry], None]) -> None:
        self._shard = shard
        self._bound = bound
        self._gather = gather
        self.refusal = f"shard {shard!r} is not open"
        self.next = 0
        self.durable = 0
        self.pending = 0
        self.unrecorded = 0

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return self.pending >= self._bound

    def enter(self, encode: Encode, payload: Payload | None, waiter: Waiter) -> None:
        """See ``Ledger.enter``."""
        if self.refusal:
            raise LedgerUnavailable(self.refusal)
        if self.pending >= self._bound:
            raise LedgerUnavailable(f"{self.pending} records wait for the disk of shard {self._shard!r}: try again")
        self.put(encode, payload, waiter)

    def put(self, encode: Encode, payload: Payload | None, waiter: Waiter) -> None:
        """As ``enter``, whether or not records are taken."""
        seq = self.next
        leaf = encode(self._shard, seq)
        if len(leaf) > events.MAX_LEAF:
            raise ValueError(f"a leaf of {len(leaf)} bytes: at most {events.MAX_LEAF}")
        self.next = seq + 1
        self.pending += 1
        self._gather(Entry(seq, leaf, payload, waiter))

    def settle(self, entries: list[Entry], hashes: list[bytes]) -> None:
        """``entries`` are durable, with these hashes."""
        self.pending -= len(entries)
        self.durable = entries[-1].seq + 1
        shard = self._shard
        for entry, leaf_hash in zip(entries, hashes, strict=True):
            try:
                entry.waiter.recorded(Receipt(shard, entry.seq, leaf_hash))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # a bug of one call, and the others' records are durable
                log.exception(_FAILED, extra={"shard": shard, "seq": entry.seq})

    def fail(self, entries: list[Entry]) -> None:
        """``entries`` are not durable, and their numbers will be others'."""
        self.pending -= len(entries)
        self.unrecorded += len(entries)
        for entry in entries:
            try:
                entry.waiter.unrecorded(LedgerUnavailable("the record could not be made durable"))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                log.exception(_FAILED, extra={"shard": self._shard, "seq": entry.seq})
