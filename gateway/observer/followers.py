"""Followers that fold records into a database of their own: metrics and usage."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.follower import Batch
from gateway.ledger.projection import Projection
from gateway.ledger.record import Record, decode
from gateway.observer.projections import Size, take_up

UNREADABLE = "unreadable"
"""The kind that stands for a leaf which is no record: counted, never skipped in silence."""

COMMIT_NS = 1_000_000_000


class Fold(Protocol):
    """What a follower does with records: ``apply`` changes memory, ``write`` stores it in a transaction."""

    tables: str
    version: int

    def restore(self, db: sqlite3.Connection) -> None:
        """Take over what the database holds."""
        ...

    def apply(self, record: Record, leaf: bytes) -> None:
        """Fold one record; ``leaf`` is what it was decoded from."""
        ...

    def write(self, db: sqlite3.Connection) -> None:
        """Store what changed since the last ``restore`` or ``write``."""
        ...


class FoldFollower:
    """Drives one fold along the ledger, and commits output and positions together about once a second.

    ``lock`` is held while the fold changes: whoever reads the fold from another thread takes it.
    """

    def __init__(self, name: str, fold: Fold, path: Path, *, clock_ns: Callable[[], int]) -> None:
        self._name = name
        self._fold = fold
        self._path = path
        self._clock_ns = clock_ns
        self._projection: Projection | None = None
        self._next: dict[str, int] = {}
        self._dirty = False
        self._committed_ns = 0
        self.lock = threading.Lock()

    @property
    def name(self) -> str:
        """Its label in the lag metric."""
        return self._name

    def open(self, size: Size) -> None:
        """Restore fold and positions; ``size`` tells how many leaves a shard has.

        A damaged database, or a ledger shorter than what was followed, means starting over from the ledger.

        Raises: LedgerNewer, OSError, sqlite3.OperationalError.
        """
        fold = self._fold
        self._projection, self._next = take_up(
            self._path, size, tables=fold.tables, version=fold.version, restore=fold.restore
        )
        self._committed_ns = self._clock_ns()

    def position(self, shard: str) -> int:
        """The next sequence number that it wants."""
        return self._next.get(shard, 0)

    def apply(self, shard: str, batch: Batch) -> None:
        """Fold ``batch``; commit if the last one is a second ago."""
        with self.lock:
            start = self.position(shard)
            for seq, leaf in batch:
                if seq >= start:
                    self._fold.apply(record_of(shard, seq, leaf), leaf)
            self._next[shard] = max(start, batch[-1][0] + 1)
            self._dirty = True
        if self._clock_ns() - self._committed_ns >= COMMIT_NS:
            self.commit()

    def commit(self) -> None:
        """Store output and positions in one transaction, if anything changed."""
        with self.lock:
            if not self._dirty or self._projection is None:
                return
            shard, following = next(iter(self._next.items()))
            with self._projection.advance(shard, following) as db:
                db.executemany("INSERT OR REPLACE INTO position VALUES (?, ?)", self._next.items())
                self._fold.write(db)
            self._dirty = False
            self._committed_ns = self._clock_ns()

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        if self._projection is not None:
            self._projection.close()
            self._projection = None


def record_of(shard: str, seq: int, leaf: bytes) -> Record:
    """The record in ``leaf``; one of kind ``UNREADABLE`` if it cannot be decoded."""
    try:
        return decode(leaf)
    except LedgerCorrupt:
        return Record(shard=shard, seq=seq, kind=UNREADABLE)


def records(shard: str, batch: Batch) -> Iterator[tuple[int, Record]]:
    """``record_of`` of each leaf in ``batch``, with its number."""
    for seq, leaf in batch:
        yield seq, record_of(shard, seq, leaf)
