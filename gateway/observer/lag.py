"""How far followers are behind the ledger, in time, and how large its shards are."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from gateway.ledger.errors import LedgerError
from gateway.ledger.reader import ShardReader, shards
from gateway.observer.followers import records

log = logging.getLogger(__name__)


class Positioned(Protocol):
    """Anything that follows."""

    @property
    def name(self) -> str:
        """Its label."""
        ...

    def position(self, shard: str) -> int:
        """The next sequence number that it wants."""
        ...


class Lookout:
    """Looks at the shards under ``root`` with readers of its own; for one thread.

    ``broken`` maps a shard that could not be read at the last look to the reason.
    """

    def __init__(self, root: Path, clock_us: Callable[[], int]) -> None:
        self.root = root
        self._clock_us = clock_us
        self._readers: dict[str, ShardReader] = {}
        self.broken: dict[str, str] = {}

    def size(self, shard: str) -> int | None:
        """The number of leaves in ``shard``, 0 when it is gone; None when it cannot be read."""
        try:
            size = self._reader(shard).size()
        except (LedgerError, OSError, sqlite3.Error) as error:
            self._note(shard, error)
            return None
        self.broken.pop(shard, None)
        return size

    def sizes(self) -> dict[str, int]:
        """The sizes of all shards; 0 for one that cannot be read."""
        return {shard: self.size(shard) or 0 for shard in shards(self.root)}

    def lags_us(self, followers: Sequence[Positioned]) -> dict[str, int]:
        """For each follower the age of the oldest record it has not seen, never negative; 0 when it has seen all."""
        now, lags = self._clock_us(), {follower.name: 0 for follower in followers}
        for shard in shards(self.root):
            for follower in followers:
                at = self._oldest(shard, follower.position(shard))
                if at:
                    lags[follower.name] = max(lags[follower.name], now - at)
        return lags

    def _oldest(self, shard: str, seq: int) -> int:
        try:
            waiting = self._reader(shard).read(seq, 1)
        except (LedgerError, OSError, sqlite3.Error) as error:
            self._note(shard, error)
            return 0
        return next((record.t_us for _, record in records(shard, waiting)), 0)

    def _note(self, shard: str, error: Exception) -> None:
        if shard not in self.broken:
            log.error("observer.shard_unreadable", extra={"shard": shard, "error": str(error)})
        self.broken[shard] = str(error)

    def _reader(self, shard: str) -> ShardReader:
        reader = self._readers.get(shard)
        if reader is None:
            reader = self._readers[shard] = ShardReader(self.root, shard)
        return reader

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
