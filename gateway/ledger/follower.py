"""Followers: whatever is derived from records tails the ledger, each at its own pace.

A follower keeps its position in the same transaction as its output, so reading at least once has an
effect exactly once; deleting its output rebuilds it. Lag never blocks a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from gateway.ledger.reader import ShardReader, shards

Batch: TypeAlias = Sequence[tuple[int, bytes]]
"""Leaves with their sequence numbers, in order."""

BATCH = 4_096
_RETRY_S = (0.1, 0.5, 2.0, 5.0)

log = logging.getLogger(__name__)


class Follower(Protocol):
    """A fold over leaves. Its calls never overlap."""

    @property
    def name(self) -> str:
        """Stable; for logs and the lag metric."""
        ...

    def position(self, shard: str) -> int:
        """The next sequence number that it wants of ``shard``; 0 for a shard it never saw."""
        ...

    def apply(self, shard: str, batch: Batch) -> None:
        """Take in ``batch`` (never empty) and store the position behind it, both or neither.

        What lies before its position was applied before and must be skipped. An exception means that
        nothing was taken in; the batch comes again.
        """
        ...


class Tail:
    """Feeds all shards of a root to followers. ``step`` blocks; call it from one thread at a time."""

    def __init__(self, root: Path, followers: Sequence[Follower], *, batch: int = BATCH) -> None:
        self._root = root
        self._followers = followers
        self._batch = batch
        self._readers: dict[str, ShardReader] = {}

    def step(self) -> int:
        """Give every follower at most one batch per shard; returns how many leaves were applied.

        Raises: whatever a follower raised first, after the others had their turn.
        """
        applied, fault = 0, None
        for shard in shards(self._root):
            reader = self._readers.setdefault(shard, ShardReader(self._root, shard))
            read: dict[int, list[tuple[int, bytes]]] = {}
            for follower in self._followers:
                try:
                    start = follower.position(shard)
                    batch = read.get(start)
                    if batch is None:
                        batch = read[start] = reader.read(start, self._batch)
                    if batch:
                        follower.apply(shard, batch)
                        applied += len(batch)
                except Exception as error:  # noqa: BLE001 - one follower's fault must not stop the others
                    log.warning(
                        "follower.failed", extra={"follower": follower.name, "shard": shard, "error": str(error)}
                    )
                    fault = fault or error
        if fault is not None:
            raise fault
        return applied

    def lag(self) -> dict[tuple[str, str], int]:
        """Leaves behind, for every (follower, shard)."""
        sizes = {
            shard: self._readers.setdefault(shard, ShardReader(self._root, shard)).size()
            for shard in shards(self._root)
        }
        return {(f.name, shard): size - f.position(shard) for shard, size in sizes.items() for f in self._followers}

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


async def follow(
    root: Path,
    followers: Sequence[Follower],
    *,
    stop: asyncio.Event,
    poll_s: float = 0.02,
    applied: Callable[[int], None] = lambda _: None,
) -> None:
    """Keep ``followers`` up with all shards under ``root`` until ``stop`` is set and they have caught up.

    Files are read and followers run in a worker thread. A follower that raises gets its batch again after a
    pause; after ``stop`` it is given one more round.
    """
    tail, failures = Tail(root, followers), 0
    try:
        while True:
            stopping = stop.is_set()
            try:
                count = await asyncio.to_thread(tail.step)
                failures = 0
            except Exception:  # noqa: BLE001 - logged in step; a follower is retried for ever
                count, failures = 0, failures + 1
            applied(count)
            if stopping and not count:
                return
            if not count:
                pause = _RETRY_S[min(failures, len(_RETRY_S)) - 1] if failures else poll_s
                await _wait(stop, pause)
    finally:
        tail.close()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
