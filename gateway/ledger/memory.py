"""A ledger in memory: the same promises minus the disk, for tests and for trying things out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping

from gateway.errors import LedgerUnavailable
from gateway.ledger import events, merkle
from gateway.ledger.ledger import Awaited, Encode, Payload, Waiter
from gateway.ledger.tree import Tree
from gateway.types import Receipt

log = logging.getLogger(__name__)


class MemoryLedger:
    """``Ledger`` that keeps leaves in a list. It can be told to fail, and to be slow.

    Must be made inside a running loop, and may be given no boot record with ``boot=None``.
    """

    def __init__(
        self,
        shard: str = "mem.0",
        *,
        boot: Mapping[str, str | int] | None = None,
        clock_us: Callable[[], int] = lambda: 0,
        queue_bound: int = 4_096,
    ) -> None:
        self.shard = shard
        self.boot = os.urandom(8).hex()
        self.leaves: list[bytes] = []
        self.payloads: dict[int, Payload] = {}
        self.tree = Tree()
        self._clock_us = clock_us
        self._bound = queue_bound
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[int, bytes, Payload | None, Waiter]] = []
        self._held = False
        self._flushing = False
        self._failures = 0
        self._refusal = ""
        if boot is not None:
            self.append(self._event("boot", {**boot, "size": 0, "root": merkle.EMPTY.hex()}))

    @property
    def pending(self) -> int:
        """Records appended and not yet durable."""
        return len(self._waiting)

    @property
    def size(self) -> int:
        """Durable records."""
        return len(self.leaves)

    def enter(self, encode: Encode, payload: Payload | None, waiter: Waiter) -> None:
        """See ``Ledger.enter``; the waiter hears in the loop's next round."""
        if self._refusal:
            raise LedgerUnavailable(self._refusal)
        if len(self._waiting) >= self._bound:
            raise LedgerUnavailable(f"{len(self._waiting)} records wait in shard {self.shard!r}: try again")
        seq = len(self.leaves) + len(self._waiting)
        leaf = encode(self.shard, seq)
        if len(leaf) > events.MAX_LEAF:
            raise ValueError(f"a leaf of {len(leaf)} bytes: at most {events.MAX_LEAF}")
        self._waiting.append((seq, leaf, payload, waiter))
        self._wake()

    def append(self, encode: Encode, payload: Payload | None = None) -> asyncio.Future[Receipt]:
        """See ``Ledger.append``."""
        future = Awaited(loop=self._loop)
        self.enter(encode, payload, future)
        return future

    async def close(self) -> None:
        """See ``Ledger.close``. Safe to call twice."""
        if self._refusal:
            return
        self._held = False
        last = self.append(self._event("shutdown", {}))
        self._refusal = f"shard {self.shard!r} is closed"
        await asyncio.wait([last])

    def fail_next(self, commits: int = 1) -> None:
        """Let the next ``commits`` commits fail: whoever waits then gets LedgerUnavailable."""
        self._failures = commits

    def hold(self) -> None:
        """Let nothing become durable until ``release``: a disk that hangs."""
        self._held = True

    def release(self) -> None:
        """End ``hold``; what waits is committed."""
        self._held = False
        self._wake()

    def _event(self, kind: str, fields: Mapping[str, events.Value]) -> Encode:
        return events.event(kind, boot=self.boot, t_us=self._clock_us(), fields=fields)

    def _wake(self) -> None:
        if not self._flushing and not self._held:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._held:
            return
        batch, self._waiting = self._waiting, []
        if self._failures:
            self._failures -= 1
            for *_, waiter in batch:
                with _logged():
                    waiter.unrecorded(LedgerUnavailable("the record could not be made durable"))
            return
        receipts = [Receipt(self.shard, seq, merkle.leaf_hash(leaf)) for seq, leaf, *_ in batch]
        for receipt, (seq, leaf, payload, _) in zip(receipts, batch, strict=True):
            self.leaves.append(leaf)
            self.tree.add(receipt.leaf_hash)
            if payload is not None:
                self.payloads[seq] = payload
        for receipt, (*_, waiter) in zip(receipts, batch, strict=True):
            with _logged():
                waiter.recorded(receipt)


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        log.exception("ledger.waiter_failed")
