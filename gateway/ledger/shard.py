"""A durable shard for the event loop: numbers records as they come, promises nothing before the commit."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.errors import LedgerUnavailable
from gateway.ledger import events
from gateway.ledger.beat import CommitTimes
from gateway.ledger.caretaker import Caretaker
from gateway.ledger.gathering import Gathering
from gateway.ledger.ledger import Awaited, Encode, Payload
from gateway.ledger.line import Line
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.short_way import QUICK_NS, ShortWay
from gateway.ledger.space import Space
from gateway.ledger.store import PAYLOAD_DAYS, SEGMENT_BYTES, SEGMENT_LEAVES, Store
from gateway.ledger.upkeep import Done, Order
from gateway.ledger.vault import Vault
from gateway.ledger.writer import Entry, Failure, Fence, Item, Job, Stop, Writer
from gateway.types import Receipt

QUEUE = 4_096
BEAT_S, BEAT_LEAVES = 10.0, 10_000


class ShardLedger:
    """``Ledger`` on disk. One per shard and process; all methods are for the loop that opened it.

    ``boot`` is this process's id, ``commits`` counts its commits, ``space`` is its disk, ``broken`` resolves with the
    cause when the shard gave up for good: the process should end then.
    """

    def __init__(
        self,
        store: Store,
        *,
        loop: asyncio.AbstractEventLoop,
        clock_us: Callable[[], int],
        counters: Callable[[], Mapping[str, int]],
        queue_bound: int,
        beat_s: float,
        quick_ns: int,
    ) -> None:
        self.shard = store.shard
        self.boot = os.urandom(8).hex()
        self.broken: asyncio.Future[Exception] = loop.create_future()
        self._loop = loop
        self._clock_us = clock_us
        self._counters = counters
        self._beat_s = beat_s
        self.space = Space(store.directory)
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._gathering = Gathering(loop, self._hand_over)
        self._line = Line(store.shard, queue_bound, self._gathering.add)
        self.enter = self._line.enter
        self._store = store
        self._caretaker = Caretaker(self, store.directory, clock_us=clock_us)
        desk = threading.Lock()
        self._writer = Writer(store, self._items, self, loop, desk, boot=self.boot, clock_us=clock_us)
        self._short = ShortWay(store, desk, self._items, self.durable, quick_ns=quick_ns)
        self._jobs = 0
        self.commits = 0
        self._times = CommitTimes()
        self._ended = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._beat_at = 0
        self._beat_due = False

    @classmethod
    async def open(
        cls,
        root: Path,
        shard: str,
        *,
        boot: Mapping[str, str | int],
        clock_us: Callable[[], int],
        counters: Callable[[], Mapping[str, int]] = dict,
        vault: Vault | None = None,
        queue_bound: int = QUEUE,
        beat_s: float = BEAT_S,
        payload_days: float = PAYLOAD_DAYS,
        segment_leaves: int = SEGMENT_LEAVES,
        segment_bytes: int = SEGMENT_BYTES,
        quick_ns: int = QUICK_NS,
    ) -> ShardLedger:
        """Open ``root/shard`` for writing and return when its boot record is durable.

        ``boot`` says what runs (version, digests, host, runtime); ``counters`` are cumulative counts of this
        process, read on the loop at every beat. Keys of the payload store are in ``root``'s sibling ``keys``
        unless a ``vault`` is given; payloads expire after ``payload_days``. While commits usually take less than
        ``quick_ns`` a lone record is committed on the loop; 0, never, is for those who do not wait for receipts.

        Raises: LedgerLocked, LedgerUnwritable, LedgerNewer, LedgerCorrupt, LedgerRolledBack, KeyMissing.
        """
        store = Store(
            root / shard,
            vault or Vault(FileKeys(root.parent / "keys" / "payload")),
            clock_us=clock_us,
            payload_days=payload_days,
            segment_leaves=segment_leaves,
            segment_bytes=segment_bytes,
        )
        await asyncio.to_thread(store.open)
        ledger = cls(
            store,
            loop=asyncio.get_running_loop(),
            clock_us=clock_us,
            counters=counters,
            queue_bound=queue_bound,
            beat_s=beat_s,
            quick_ns=quick_ns,
        )
        about: dict[str, events.Value] = {**boot, "size": store.size, "root": store.tree.root().hex()}
        await ledger._start(store.size, about)
        return ledger

    @property
    def pending(self) -> int:
        """Records appended and not yet durable."""
        return self._line.pending

    @property
    def size(self) -> int:
        """Durable records, as far as the loop has heard."""
        return self._line.durable

    @property
    def fault(self) -> str:
        """Why ``append`` refuses now; "" when it does not."""
        return self._line.refusal

    def expect(self, coming: Callable[[], int]) -> None:
        """From now on let records wait a moment for those that ``coming`` counts: which the loop is about to make."""
        self._gathering.coming = coming

    def append(self, encode: Encode, payload: Payload | None = None) -> asyncio.Future[Receipt]:
        """See ``Ledger.append``."""
        future = Awaited(loop=self._loop)
        self.enter(encode, payload, future)
        return future

    async def perform(self, order: Order) -> Done:
        """Carry out an order on all segments of this shard. Records may be appended meanwhile.

        Raises: LedgerUnavailable, LedgerError, sqlite3.Error.
        """
        if self._line.refusal:
            raise LedgerUnavailable(self._line.refusal)
        job = Job(order, self._loop.create_future())
        self._jobs += 1
        self._items.put(job)
        live = await job.done
        return await asyncio.to_thread(self._store.perform_closed, order) + live

    async def carry_out(self) -> None:
        """Carry out what was ordered for this shard (see ``orders``). Raises: LedgerUnavailable, LedgerError."""
        await self._caretaker.carry_out()

    async def close(self) -> None:
        """See ``Ledger.close``. Safe to call twice."""
        await self._caretaker.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._writer.closing.is_set():
            if not self._line.refusal:
                self._line.put(self._event("shutdown", self._tally()), None, Awaited(loop=self._loop))
            self._line.refusal = f"shard {self.shard!r} is closed"
            self._writer.closing.set()
            self._gathering.release()
            self._items.put(Stop())
        await asyncio.shield(self._ended)
        self._writer.thread.join()

    def _hand_over(self, entries: list[Entry]) -> None:
        alone = len(entries) == self._line.pending == 1 and not self._jobs and not self._writer.closing.is_set()
        if not (alone and self._short.commit(entries)):
            self._items.put(entries)

    async def _start(self, size: int, about: Mapping[str, events.Value]) -> None:
        self._line.next = self._line.durable = self._beat_at = size
        self._line.refusal = ""
        self._writer.thread.start()
        try:
            await self.append(self._event("boot", {**about, "mono_us": time.monotonic_ns() // 1000}))
        except BaseException:
            await self.close()
            raise
        self._timer = self._loop.call_later(self._beat_s, self._tick)

    def _event(self, kind: str, fields: Mapping[str, events.Value]) -> Encode:
        return events.event(kind, boot=self.boot, t_us=self._clock_us(), fields=fields)

    def _tick(self) -> None:
        self._beat()
        self._caretaker.look()
        self._timer = self._loop.call_later(self._beat_s, self._tick)

    def _beat(self) -> None:
        self._beat_due = False
        if self._line.refusal or self._line.full:
            return
        self._beat_at = self._line.next
        self._line.put(self._event("beat", self._tally()), None, Awaited(loop=self._loop))

    def _tally(self) -> dict[str, events.Value]:
        return {**self._counters(), **self._times.take(), "commit_failed": self._line.unrecorded}

    # Called on the loop by the writer's thread, in the order of its commits.

    def durable(self, entries: list[Entry], hashes: list[bytes], took_ns: int) -> None:
        self.commits += 1
        self._times.add(took_ns, len(entries))
        self._short.pace.add(took_ns, len(entries))
        self._line.settle(entries, hashes)
        if self._line.next - self._beat_at >= BEAT_LEAVES and not self._beat_due:
            self._beat_due = True
            self._loop.call_soon(self._beat)

    def suspend(self, error: Exception) -> None:
        if not self._writer.closing.is_set():
            self._line.refusal = f"shard {self.shard!r} cannot write ({error}): no record, no answer"
        self._gathering.release()
        self._items.put(Fence())

    def failed(self, entries: list[Entry], error: Exception) -> None:
        self._line.fail(entries)

    def performed(self, job: Job, result: Done | Exception) -> None:
        self._jobs -= 1
        if job.done.done():
            return
        if isinstance(result, Done):
            job.done.set_result(result)
        else:
            job.done.set_exception(result)

    def resumed(self, size: int) -> None:
        self._line.next = self._line.durable = size
        if not self._writer.closing.is_set():
            self._line.refusal = ""

    def ended(self, error: Exception | None) -> None:
        if error is not None:
            self._line.refusal = f"shard {self.shard!r} gave up: {error}"
            if not self.broken.done():
                self.broken.set_result(error)
        self._gathering.release()
        while not self._items.empty():
            item = self._items.get_nowait()
            if isinstance(item, list):
                self.failed(item, LedgerUnavailable("closed"))
            elif isinstance(item, Job):
                self.performed(item, LedgerUnavailable(f"shard {self.shard!r} is closed"))
            elif isinstance(item, Failure):
                self.failed(item.entries, item.error)
        if not self._ended.done():
            self._ended.set_result(None)
