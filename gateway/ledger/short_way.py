"""The short way to disk: a lone record is committed on the event loop's own thread, while commits are quick.

Handing a record to the writer's thread and its receipt back costs more than the commit itself where the disk is quick.
A caller who is alone waits for both. So where nothing else is on its way, and commits took less than a millisecond of
late, the loop makes the commit itself. It does nothing else meanwhile: hence only for one record, which is all that the
loop had, never for what may take longer (a new segment, a grown log, a subject's key, a large body), and not for a good
while after a commit that was slow.

Two threads never use the store at once: who does holds the desk, and the loop does not wait for it. Order is kept
because the loop comes here only when nothing that it handed over is outstanding. What fails goes the way of the
writer's own failures: it is told before the desk is free, and the writer looks before it touches the store.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from gateway.ledger.store import Store
from gateway.ledger.writer import Entry, Failure, Item, Nudge

QUICK_NS = 1_000_000
"""Commits are quick when the usual one takes less than this, and the worst of late less than five times as long."""

SMALL = 65_536


class Pace:
    """What commits of one record take of late: usually (a running mean), and at worst (a maximum that fades)."""

    def __init__(self, quick_ns: int) -> None:
        self._quick = quick_ns
        self._usual = 2 * quick_ns
        self._worst = 0

    def add(self, took_ns: int, records: int) -> None:
        """Count a commit. One of several records says that there is company: then trust is gained anew."""
        most = 2 * self._quick  # an outlier is the business of the other number
        if records > 1:
            self._usual = most
            return
        self._usual += (min(took_ns, most) - self._usual) // 8
        self._worst = max(took_ns, self._worst - self._worst // 256)

    @property
    def quick(self) -> bool:
        """True after some eight quick commits of one record in turn; False for hundreds of them after a slow one."""
        return self._usual < self._quick and self._worst < 5 * self._quick


class ShortWay:
    """Commits single records for the event loop, on its thread. With ``quick_ns`` of 0 it never does.

    ``desk`` is held by whoever uses ``store``; ``items`` is the writer's queue; ``durable`` is told of each commit.
    """

    def __init__(
        self,
        store: Store,
        desk: threading.Lock,
        items: queue.SimpleQueue[Item],
        durable: Callable[[list[Entry], list[bytes], int], None],
        *,
        quick_ns: int,
    ) -> None:
        self._store = store
        self._desk = desk
        self._items = items
        self._durable = durable
        self.pace = Pace(quick_ns)

    def commit(self, entries: list[Entry]) -> bool:
        """Commit a lone record now, or let the writer know why it failed; False when it must go the long way.

        Only when nothing handed to the writer is outstanding.
        """
        payload = entries[0].payload
        if not self.pace.quick or (payload is not None and (payload.subject or len(payload.body) > SMALL)):
            return False
        if not self._desk.acquire(blocking=False):  # the writer moves the log, or looks at a fault
            return False
        try:
            if not self._store.light:
                return False
            clean, started = not self._store.wal_is_dirty, time.monotonic_ns()
            hashes = self._store.commit(entries)
        except Exception as error:  # noqa: BLE001 - the writer tells what is a fault of the disk and what ends the shard
            self._items.put(Failure(entries, error))
            return True
        finally:
            self._desk.release()
        if clean:
            self._items.put(Nudge())
        self._durable(entries, hashes, time.monotonic_ns() - started)
        return True
