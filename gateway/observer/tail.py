"""Reads the ledger's shards for all followers: each batch is read and decoded once, however many follow."""

from __future__ import annotations

import logging
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from gateway.ledger import reader
from gateway.ledger.errors import LedgerError
from gateway.ledger.record import Record, decode

log = logging.getLogger("gateway.observer")

Entry: TypeAlias = tuple[int, Record]

UNREADABLE = "unreadable"
"""The kind that stands for a leaf which is not a record: counted, never skipped in silence."""

BATCH = 1024


class Shard(Protocol):
    """Reads the committed leaves of one shard."""

    def read(self, first_seq: int, limit: int) -> list[tuple[int, bytes]]:
        """At most ``limit`` leaves from ``first_seq`` on, in order."""
        ...

    def size(self) -> int:
        """The number of committed leaves, which is the next sequence."""
        ...


class Tail:
    """All shards of a ledger. ``names`` lists them now, ``open`` makes a reader; new shards appear by themselves.

    Entries are (sequence, record), in order; a gap on disk stays a gap. A shard that cannot be read stands in
    ``broken`` with the error's text, yields nothing, and is tried again at the next read.
    """

    def __init__(self, names: Callable[[], Iterable[str]], open: Callable[[str], Shard]) -> None:
        self._names = names
        self._open = open
        self._shards: dict[str, Shard] = {}
        self._last: dict[str, list[Entry]] = {}
        self.broken: dict[str, str] = {}

    def shards(self) -> list[str]:
        """The shards there are now."""
        return sorted(self._names())

    def size(self, shard: str) -> int:
        """The next sequence of ``shard``; 0 when it cannot be read."""
        try:
            return self._shard(shard).size()
        except (LedgerError, OSError, sqlite3.Error) as error:
            self._note(shard, error)
            return 0

    def read(self, shard: str, first: int, limit: int = BATCH) -> Sequence[Entry]:
        """Entries from sequence ``first`` on, at most ``limit``."""
        held = self._last.get(shard)
        if held and held[0][0] <= first <= held[-1][0]:
            at = bisect_left(held, first, key=lambda entry: entry[0])
            return held[at : at + limit]
        try:
            leaves = self._shard(shard).read(first, limit)
        except (LedgerError, OSError, sqlite3.Error) as error:
            self._note(shard, error)
            return ()
        self.broken.pop(shard, None)
        entries = [(seq, _record(shard, seq, leaf)) for seq, leaf in leaves]
        if entries:
            self._last[shard] = entries
        return entries

    def _note(self, shard: str, error: Exception) -> None:
        if shard not in self.broken:
            log.error("observer.shard_unreadable", extra={"shard": shard, "error": str(error)})
        self.broken[shard] = str(error)

    def _shard(self, name: str) -> Shard:
        reader = self._shards.get(name)
        if reader is None:
            reader = self._shards[name] = self._open(name)
        return reader


def ledger_tail(root: Path) -> Tail:
    """The tail of the ledger under ``root`` (``<data>/ledger``)."""
    return Tail(lambda: reader.shards(root), lambda shard: reader.ShardReader(root, shard))


def _record(shard: str, seq: int, leaf: bytes) -> Record:
    try:
        return decode(leaf)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Record(shard=shard, seq=seq, kind=UNREADABLE)
