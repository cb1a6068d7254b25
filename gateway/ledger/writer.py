"""The thread that makes records durable: whatever waits is one commit, one wake-up of the loop per batch.

It never waits for company: a batch forms while the one before it is syncing, so a lone record waits for
one commit, a busy shard for at most two, and there is no timer.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from gateway.ledger import events
from gateway.ledger.errors import LedgerCorrupt, LedgerError
from gateway.ledger.ledger import Payload, Waiter
from gateway.ledger.store import Store
from gateway.ledger.upkeep import Done, Order

MAX_BATCH, MAX_BATCH_BYTES = 256, 1 << 20
RECOVERIES, WINDOW_S = 3, 60.0
_IDLE_S = 0.2
_BACKOFF_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
_FAULTS = (sqlite3.Error, OSError, LedgerError, MemoryError)

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A numbered record on its way to disk."""

    seq: int
    leaf: bytes
    payload: Payload | None
    waiter: Waiter


class Job(NamedTuple):
    """An order for the live segment, in its turn between two commits."""

    order: Order
    done: asyncio.Future[Done]


class Failure:
    """A commit on the event loop that failed: the store may not be used before this was looked at."""

    def __init__(self, entries: list[Entry], error: Exception) -> None:
        self.entries = entries
        self.error = error


class Nudge:
    """The event loop has written into a log that was empty: it is to be moved into its file some day."""


class Stop:
    """Last item of a queue: commit what came before, then end."""


class Fence:
    """Marks, after a failure, where the loop stopped numbering."""


Item: TypeAlias = list[Entry] | Job | Failure | Nudge | Stop | Fence


class Owner(Protocol):
    """What the thread tells the event loop. Every method is called there."""

    def durable(self, entries: list[Entry], hashes: list[bytes], took_ns: int) -> None: ...
    def suspend(self, error: Exception) -> None: ...
    def failed(self, entries: list[Entry], error: Exception) -> None: ...
    def performed(self, job: Job, result: Done | Exception) -> None: ...
    def resumed(self, size: int) -> None: ...
    def ended(self, error: Exception | None) -> None: ...


class Writer:
    """Takes items from ``queue`` and commits them to ``store`` until Stop, or until the disk is given up.

    Whenever it uses the store it holds the ``desk``; when it ends it keeps it.
    """

    def __init__(
        self,
        store: Store,
        items: queue.SimpleQueue[Item],
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        desk: threading.Lock,
        *,
        boot: str,
        clock_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._items = items
        self._owner = owner
        self._loop = loop
        self._desk = desk
        self._boot = boot
        self._clock_us = clock_us
        self._recoveries: deque[float] = deque(maxlen=RECOVERIES)
        self._stopping = False
        self._errand: Job | Failure | None = None
        self._seen = 0
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"ledger {store.shard}", daemon=True)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            while True:
                batch = self._collect()
                self._desk.acquire()
                self._work(batch)
                if self._stopping:
                    break
                self._desk.release()
        except Exception as fault:  # noqa: BLE001 - a thread's last word must reach its owner, whatever it is
            error = fault
        finally:
            self._store.close(settle=error is None)
            self._post(self._owner.ended, error)

    def _collect(self) -> list[Entry]:
        """Wait for one record, then take all that are there; [] after a quiet moment, for an errand, or at Stop."""
        batch: list[Entry] = []
        size = 0
        while len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            wait = _IDLE_S if self._store.wal_is_dirty else None
            try:
                item = self._items.get_nowait() if batch else self._items.get(timeout=wait)
            except queue.Empty:
                break
            if isinstance(item, list):
                batch += item
                size += sum([len(e.leaf) + (len(e.payload.body) if e.payload else 0) for e in item])
            elif not isinstance(item, Nudge):
                self._stopping = isinstance(item, Stop)
                self._errand = item if isinstance(item, Job | Failure) else None
                break
        return batch

    def _work(self, batch: list[Entry]) -> None:
        errand, self._errand = self._errand, None
        if batch:
            self._commit(batch)
        if isinstance(errand, Job):
            self._perform(errand)
        elif isinstance(errand, Failure):
            self._take_over(errand)
        elif not batch and not self._stopping:
            self._tidy()

    def _commit(self, batch: list[Entry]) -> None:
        started = time.monotonic_ns()
        try:
            hashes = self._store.commit(batch)
        except _FAULTS as error:
            self._fail(batch, error)
            return
        except Exception as error:
            self._post(self._owner.failed, batch, error)  # it ends this thread, but nobody waits for ever
            raise
        self._post(self._owner.durable, batch, hashes, time.monotonic_ns() - started)
        try:
            if self._items.empty():
                self._store.rest()
        except _FAULTS as error:
            self._fail([], error)
        self._seen = self._store.size

    def _perform(self, job: Job) -> None:
        try:
            result: Done | Exception = self._store.perform(job.order)
        except _FAULTS as error:  # its own transaction is undone, records before and after are not touched
            result = error
        self._post(self._owner.performed, job, result)

    def _take_over(self, failure: Failure) -> None:
        if isinstance(failure.error, _FAULTS):
            self._fail(failure.entries, failure.error)
        else:
            self._post(self._owner.failed, failure.entries, failure.error)
            raise failure.error

    def _tidy(self) -> None:
        """Nothing came for a moment: move the log into its file, or only a large one while the loop commits itself.

        What the loop told meanwhile, its failure above all, goes first.
        """
        if not self._items.empty():
            return
        try:
            if self._store.size == self._seen:
                self._store.checkpoint()
            else:
                self._store.rest()
        except _FAULTS as error:
            self._fail([], error)
        self._seen = self._store.size

    def _fail(self, batch: list[Entry], error: Exception) -> None:
        """Fail all waiters, then find out what the disk holds and go on behind it (or give up)."""
        log.error(
            "ledger.commit_failed", extra={"shard": self._store.shard, "records": len(batch), "error": str(error)}
        )
        expected = self._store.size
        self._post(self._owner.suspend, error)
        waiting = list(batch)
        while not self._stopping:
            item = self._items.get()
            if isinstance(item, Fence):
                break
            if isinstance(item, Stop):
                self._stopping = True
            elif isinstance(item, Job):
                self._post(self._owner.performed, item, error)
            elif isinstance(item, Failure):
                waiting += item.entries
            elif isinstance(item, list):
                waiting += item
        self._post(self._owner.failed, waiting, error)
        self._recoveries.append(time.monotonic())
        if len(self._recoveries) == RECOVERIES and self._recoveries[-1] - self._recoveries[0] < WINDOW_S:
            raise LedgerError(
                f"{self._store.directory}: {RECOVERIES} failed commits within a minute: {error}"
            ) from error
        if self._recover(expected, len(waiting), error):
            self._post(self._owner.resumed, self._store.size)

    def _recover(self, expected: int, lost: int, error: Exception) -> bool:
        attempt = 0
        while not self._stopping:
            try:
                self._store.reopen()
                self._store.commit([(self._store.size, self._recover_leaf(expected, lost, error), None)])
            except LedgerCorrupt:
                raise
            except _FAULTS as again:
                log.warning("ledger.recovery_failed", extra={"shard": self._store.shard, "error": str(again)})
                if self.closing.wait(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]):
                    self._stopping = True
                attempt += 1
            else:
                return True
        return False

    def _recover_leaf(self, expected: int, lost: int, error: Exception) -> bytes:
        size = self._store.size
        fields: dict[str, events.Value] = {"expected": expected, "unrecorded": lost - (size - expected)}
        if size > expected:  # on disk after all; their callers were told UNAVAILABLE
            fields |= {"found_first": expected, "found_last": size - 1}
        make = events.event(
            "recover", boot=self._boot, t_us=self._clock_us(), reason=type(error).__name__, fields=fields
        )
        return make(self._store.shard, size)

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is gone, and everyone who waited with it
            self._stopping = True
